package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// multiAnnotation marks flags that take several space-separated values, as the reference's do.
const multiAnnotation = "fairlead_multi"

// multiVar defines a flag that takes one or more values: --name a=b c=d, also given again and again.
func multiVar(fs *pflag.FlagSet, p *[]string, name, usage string) {
	fs.StringArrayVar(p, name, nil, usage)
	_ = fs.SetAnnotation(name, multiAnnotation, []string{"true"})
}

// ExpandArgs rewrites --flag a b c to --flag a --flag b --flag c for flags with several values. It also parts a value
// from a flag that was glued to its end (key=file--resource-group G), which the reference's own pages print; notes
// say when that was done.
func ExpandArgs(root *cobra.Command, args []string) (out, notes []string) {
	cmd, _, err := root.Find(args)
	if err != nil || cmd == nil || (len(args) > 0 && strings.HasPrefix(args[0], "__complete")) {
		return args, nil
	}
	current, used := "", false
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			return append(out, args[i:]...), notes
		case strings.HasPrefix(arg, "-") && len(arg) > 1:
			if current != "" && !used {
				out = append(out, "--"+current+"=")
			}
			current, used = "", false
			if name, ok := multiFlag(cmd, arg); ok {
				current = name
				continue
			}
			if name, value, ok := strings.Cut(arg, "="); ok {
				if n, multi := multiFlag(cmd, name); multi {
					out = append(out, "--"+n, value)
					current, used = n, true
					continue
				}
			}
			out = append(out, arg)
		case current != "":
			value, flag := unglue(cmd, arg)
			out, used = append(out, "--"+current, value), true
			if flag != "" {
				notes = append(notes, fmt.Sprintf("reading %q as %q and %q", arg, value, flag))
				out, current = append(out, flag), ""
			}
		default:
			out = append(out, arg)
		}
	}
	if current != "" && !used {
		out = append(out, "--"+current+"=")
	}
	return out, notes
}

func multiFlag(cmd *cobra.Command, arg string) (string, bool) {
	name, ok := strings.CutPrefix(arg, "--")
	if !ok {
		return "", false
	}
	f := cmd.Flags().Lookup(name)
	if f == nil {
		f = cmd.InheritedFlags().Lookup(name)
	}
	return name, f != nil && len(f.Annotations[multiAnnotation]) > 0
}

// unglue finds one of the command's own flags at the end of a value.
func unglue(cmd *cobra.Command, arg string) (value, flag string) {
	i := strings.LastIndex(arg, "--")
	if i <= 0 || !strings.Contains(arg[:i], "=") || cmd.Flags().Lookup(arg[i+2:]) == nil || len(arg) == i+2 {
		return arg, ""
	}
	return arg[:i], arg[i:]
}

// keyValues reads K=V texts; empty ones are left out. flag is the flag's name for the error.
func keyValues(flag string, texts []string) (map[string]string, error) {
	out := map[string]string{}
	for _, t := range texts {
		if t == "" {
			continue
		}
		k, v, ok := strings.Cut(t, "=")
		if k = strings.TrimSpace(k); !ok || k == "" {
			return nil, usagef("argument %s: %q: want <key>=<value>", flag, t)
		}
		if _, dup := out[k]; dup {
			return nil, usagef("argument %s: key %q given twice", flag, k)
		}
		out[k] = v
	}
	return out, nil
}

// tagValues reads tags, where a value may be missing.
func tagValues(texts []string) map[string]string {
	out := map[string]string{}
	for _, t := range texts {
		if k, v, _ := strings.Cut(t, "="); k != "" {
			out[k] = v
		}
	}
	return out
}
