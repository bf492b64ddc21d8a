// Command fairlead-runtime runs inside pods. A job's: `install <path>` copies it into the user's image, `run` does the job. An online
// deployment's: `storage-initializer` fetches model and code, `serve` runs the scoring script, `identity` gives
// its processes tokens of their managed identity.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"fairlead.dev/fairlead/internal/runtime"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	self, err := os.Executable()
	exitOn(err)
	switch {
	case len(os.Args) == 3 && os.Args[1] == "install":
		exitOn(runtime.Install(self, os.Args[2]))
	case len(os.Args) == 2 && os.Args[1] == "run":
		cfg, err := runtime.FromEnvironment(os.Environ())
		exitOn(err)
		os.Exit(runtime.Run(ctx, cfg)) //nolint:gocritic // stop only frees the handler
	case len(os.Args) == 2 && os.Args[1] == "storage-initializer":
		cfg, err := runtime.StorageFromEnvironment(self)
		exitOn(err)
		os.Exit(runtime.InitializeStorage(ctx, cfg))
	case len(os.Args) == 2 && os.Args[1] == "serve":
		os.Exit(runtime.Serve(ctx, runtime.ServerFromEnvironment(os.Environ())))
	case len(os.Args) == 2 && os.Args[1] == "identity":
		cfg, err := runtime.IdentityFromEnvironment()
		exitOn(err)
		exitOn(runtime.GiveTokens(ctx, cfg))
	default:
		exitOn(fmt.Errorf("usage: fairlead-runtime install <path> | run | storage-initializer | serve | identity"))
	}
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "fairlead-runtime:", err)
		os.Exit(125)
	}
}
