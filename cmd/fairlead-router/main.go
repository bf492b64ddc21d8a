// Command fairlead-router is azureml-fe, the inference router of a cluster.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/pprof"
	"syscall"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"fairlead.dev/fairlead/internal/router"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil)).With("component", "azureml-fe")
	klog.SetSlogLogger(log)
	var cfg router.Config
	cfg.Bind(flag.CommandLine)
	kubeconfig := flag.String("kubeconfig", "", "file that says which cluster to follow; empty for the one that it runs in")
	profile := flag.String("cpu-profile", "", "file for a profile of where processor time goes, whole when the router has ended; empty for none")
	flag.Parse()
	stopProfile, err := startProfile(*profile)
	exitOn(err)
	kube, err := configOf(*kubeconfig)
	exitOn(err)
	r, err := router.New(cfg, log)
	exitOn(err)
	err = r.Run(ctx, kube)
	stopProfile()
	exitOn(err)
}

// startProfile is what scripts/bench-router -profile asks for.
func startProfile(path string) (stop func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("writing the profile: %w", err)
	}
	return pprof.StopCPUProfile, pprof.StartCPUProfile(file)
}

func configOf(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		return rest.InClusterConfig()
	}
	return clientcmd.BuildConfigFromFlags("", kubeconfig)
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "fairlead-router:", err)
		os.Exit(1)
	}
}
