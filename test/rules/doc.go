// Package rules holds tests of the source tree itself: what may import what, how long a file may be, that packages say what they are.
package rules
