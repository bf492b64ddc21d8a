// Command fairlead-runtime runs inside a job's pod: `install <path>` copies it into the user's image, `run` does the job.
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
	switch {
	case len(os.Args) == 3 && os.Args[1] == "install":
		self, err := os.Executable()
		if err == nil {
			err = runtime.Install(self, os.Args[2])
		}
		exitOn(err)
	case len(os.Args) == 2 && os.Args[1] == "run":
		cfg, err := runtime.FromEnvironment(os.Environ())
		exitOn(err)
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		code := runtime.Run(ctx, cfg)
		stop()
		os.Exit(code)
	default:
		exitOn(fmt.Errorf("usage: fairlead-runtime install <path> | run"))
	}
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "fairlead-runtime:", err)
		os.Exit(125)
	}
}
