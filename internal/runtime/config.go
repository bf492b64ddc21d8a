// Package runtime is what runs inside a job's pod: it fetches code and inputs, runs the user's command, streams its output
// into the run's artifacts and to live readers, uploads outputs and reports how it ended.
//
//	claim ─▶ Preparing ─▶ Running ─▶ Finalizing ─▶ Done
//	          code,        command,   outputs,      termination
//	          inputs       live log   rest of logs  message
//
// Logs are spooled to a local folder first. Uploads follow the spool by position, so that an outage of the control
// plane neither loses nor repeats a byte.
package runtime

import (
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"fairlead.dev/fairlead/api/commonruntime"
	"fairlead.dev/fairlead/internal/runtime/podenv"
)

// Config is where a runtime finds things and who it is. Paths are absolute.
type Config struct {
	SpecPath, TokenPath, CAPath, CustomCAPath, LogKeyPath string
	WorkDir, ResultPath                                   string
	// MountDir is the volume of the node's CSI driver; "" where there is none. MountCache is what mounts keep on disk for reading, in bytes.
	MountDir   string
	MountCache int64
	// PublicCAs are patterns of files of the image; the first that exists holds the public CAs.
	PublicCAs []string
	// Listen is the address of the file server; "" serves nothing.
	Listen string
	// IdentityListen is the address at which tokens of the job's managed identity are served, if it has one.
	IdentityListen string

	Rank, Attempt, NodeCount int
	PodUID, PodIP            string
	// Nonce tells this process from another one of the same pod; "" makes one.
	Nonce string
	Hosts string

	// Environ is the environment the command inherits, as os.Environ.
	Environ []string
	// Stdout receives the command's output, and Stderr the runtime's own log.
	Stdout, Stderr io.Writer
	// HTTP overrides the client for blobs; nil makes one that trusts CAPath.
	HTTP *http.Client
	// RetryFor bounds how long transfers wait for the control plane.
	RetryFor time.Duration
	// FlushEvery is how often log files are appended to their blobs, KillAfter the time between SIGTERM and SIGKILL.
	FlushEvery, KillAfter time.Duration
	// DrainAfter bounds how long output is awaited from processes that outlive the command.
	DrainAfter time.Duration
}

// FromEnvironment is the configuration of a runtime in a pod.
func FromEnvironment(environ []string) (Config, error) {
	env := environment(environ)
	c := Config{
		SpecPath: commonruntime.SpecPath, TokenPath: commonruntime.TokenPath, CAPath: commonruntime.CAPath,
		CustomCAPath: commonruntime.CustomCAPath, PublicCAs: publicCAs,
		LogKeyPath: commonruntime.LogKeyPath, WorkDir: commonruntime.WorkDir, ResultPath: commonruntime.ReasonPath,
		Listen: fmt.Sprintf(":%d", commonruntime.LogPort), IdentityListen: commonruntime.IdentityAddress, PodUID: env[podenv.PodUID], PodIP: env["POD_IP"], Hosts: env[podenv.Hosts], MountDir: env[podenv.Mounts],
		Environ: environ, Stdout: os.Stdout, Stderr: os.Stderr,
	}
	hours, cache := 24, defaultMountCache>>20
	for _, n := range []struct {
		name string
		to   *int
		def  int
	}{{podenv.Rank, &c.Rank, 0}, {podenv.Attempt, &c.Attempt, 0}, {podenv.NodeCount, &c.NodeCount, 1}, {podenv.RetryHours, &hours, 24}, {podenv.MountCache, &cache, cache}} {
		*n.to = n.def
		if env[n.name] == "" {
			continue
		}
		v, err := strconv.Atoi(env[n.name])
		if err != nil || v < 0 {
			return Config{}, fmt.Errorf("environment variable %s is %q, not a number of 0 or more", n.name, env[n.name])
		}
		*n.to = v
	}
	c.RetryFor, c.MountCache = time.Duration(hours)*time.Hour, int64(cache)<<20
	return c.withDefaults(), nil
}

func (c Config) withDefaults() Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.RetryFor, 24*time.Hour)
	def(&c.FlushEvery, time.Second)
	def(&c.KillAfter, 30*time.Second)
	def(&c.DrainAfter, 2*time.Second)
	if c.MountCache == 0 {
		c.MountCache = defaultMountCache
	}
	if c.NodeCount == 0 {
		c.NodeCount = 1
	}
	if c.Nonce == "" {
		c.Nonce = rand.Text()
	}
	if c.Stdout == nil {
		c.Stdout = io.Discard
	}
	if c.Stderr == nil {
		c.Stderr = io.Discard
	}
	return c
}

// Folders below WorkDir.
func (c Config) codeDir() string    { return filepath.Join(c.WorkDir, "wd") }
func (c Config) inputsDir() string  { return filepath.Join(c.WorkDir, "inputs") }
func (c Config) outputsDir() string { return filepath.Join(c.WorkDir, "outputs") }
func (c Config) filesDir() string   { return filepath.Join(c.WorkDir, "files") }

// retryPrefix is the folder that a later attempt's logs go below: "" for the first, "retry-001/" for the second.
func (c Config) retryPrefix() string {
	if c.Attempt == 0 {
		return ""
	}
	return fmt.Sprintf("retry-%03d/", c.Attempt)
}

// isStdLog says whether a file of user_logs has a name that only the runtime writes, here or in another pod.
func isStdLog(name string) bool { return strings.HasPrefix(name, "std_log") }

// systemLogName is the runtime's own log of the pod with the given rank.
func systemLogName(rank int) string {
	if rank == 0 {
		return commonruntime.SystemLogPath
	}
	return fmt.Sprintf("%s_process_%02d.log", strings.TrimSuffix(commonruntime.SystemLogPath, ".log"), rank)
}
