// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command bench measures the operator as whole processes: a real control plane, the simulator as the vendor, and the manager under its
// shipped RBAC. For each size of fleet it runs the same phases in a fresh control plane, and before them, in one of its own, a floor: a
// bare loop that makes the same vendor call and the same API writes with the same parallelism, and nothing else.
//
//   - main.go: flags, the run over all sizes, the files that are written
//   - fleet.go: what is set up; process.go: the programs, their CPU time and memory
//   - phases.go: what is measured; outage.go: catching up under a limit
//   - floor.go: the bare loop
//   - profile.go: profiles of the manager
//   - watch.go: when certificates become Ready; audit.go: API requests; vendor.go: vendor calls
//   - result.go, chart.go: JSON, Markdown and SVG
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"
)

// options are the flags.
type options struct {
	sizes   sizes
	out     string
	root    string
	foreign int
	idle    time.Duration
	floor   int
	rate    int
	bin     string
	phases  string
	profile bool
}

// sizes are the numbers of certificates, one run each.
type sizes []int

// String is the flag's value.
func (s *sizes) String() string {
	var parts []string
	for _, n := range *s {
		parts = append(parts, strconv.Itoa(n))
	}
	return strings.Join(parts, ",")
}

// Set reads the flag's value.
func (s *sizes) Set(text string) error {
	*s = nil
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 10 {
			return errors.New("give numbers of certificates from ten up, separated by commas")
		}
		*s = append(*s, n)
	}
	return nil
}

func main() {
	o := options{sizes: sizes{500, 2000}}
	flag.Var(&o.sizes, "n", "`sizes` of the fleet, separated by commas")
	flag.StringVar(&o.out, "out", "bin/bench", "`folder` of result.json, result.md and cost.svg; results of other sizes in it are kept")
	flag.StringVar(&o.root, "root", ".", "`folder` of the module")
	flag.IntVar(&o.foreign, "foreign", 10000, "foreign Secrets of 10 KiB; 0 leaves the phase out")
	flag.DurationVar(&o.idle, "idle", time.Minute, "how long the idle phase is")
	flag.IntVar(&o.floor, "floor", 0, "certificates of the floor; 0 means as many as the fleet has")
	flag.IntVar(&o.rate, "rate", 20, "requests per second allowed while an outage is caught up with")
	flag.StringVar(&o.bin, "bin", "bin", "`folder` of the programs manager and simulator")
	flag.StringVar(&o.phases, "phases", strings.Join(phaseNames(), ","), "`phases` to run, separated by commas; the first fill, which the others need, is always run")
	flag.BoolVar(&o.profile, "profile", false, "write CPU and heap profiles of the manager in every phase to the folder of the results")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctrl.SetLogger(logr.Discard())
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	if err := os.MkdirAll(o.out, 0o750); err != nil {
		return err
	}
	path := filepath.Join(o.out, "result.json")
	results, err := readResults(path)
	if err != nil {
		return err
	}
	for _, n := range o.sizes {
		measured, err := measure(ctx, o, n)
		if err != nil {
			return fmt.Errorf("%d certificates: %w", n, err)
		}
		results = merge(results, measured)
		if err := writeResults(o.out, results); err != nil {
			return err
		}
	}
	return nil
}

// step is a phase by the name it is chosen by.
type step struct {
	name string
	run  func(*fleet, context.Context) error
}

// nameFloor is the step of the bare loop, the first of all.
const nameFloor = "floor"

// steps in the order they are run.
var steps = []step{
	{nameFloor, (*fleet).measureFloor},
	{"fill", (*fleet).firstFill},
	{"renewal", (*fleet).massRenewal},
	{"restart", (*fleet).restart},
	{"idle", (*fleet).idleMinute},
	{"outage", (*fleet).outage},
	{"foreign", (*fleet).foreignSecrets},
}

func phaseNames() []string {
	var names []string
	for _, s := range steps {
		names = append(names, s.name)
	}
	return names
}

// chosen are the phases a flag names.
func chosen(names string) ([]step, error) {
	wanted := map[string]bool{"fill": true}
	for name := range strings.SplitSeq(names, ",") {
		if name = strings.TrimSpace(name); !slices.Contains(phaseNames(), name) {
			return nil, fmt.Errorf("there is no phase %q, only %s", name, strings.Join(phaseNames(), ", "))
		}
		wanted[name] = true
	}
	return slices.DeleteFunc(slices.Clone(steps), func(s step) bool { return !wanted[s.name] }), nil
}

// measure runs the chosen phases with one size of fleet.
func measure(ctx context.Context, o options, n int) ([]result, error) {
	phases, err := chosen(o.phases)
	if err != nil {
		return nil, err
	}
	floors := map[string]float64{}
	var floor []result
	if phases[0].name == nameFloor {
		if floor, err = onFreshGround(ctx, o, n, floors, phases[:1]); err != nil {
			return nil, err
		}
		phases = phases[1:]
	}
	measured, err := onFreshGround(ctx, o, n, floors, phases)
	return append(floor, measured...), err
}

// onFreshGround runs phases with a control plane and a vendor of their own. The floor and the operator each begin with an empty one: an API
// server that has a fleet behind it, in its caches and in etcd, takes more for each request.
func onFreshGround(ctx context.Context, o options, n int, floors map[string]float64, phases []step) (_ []result, err error) {
	f, err := newFleet(ctx, o, n)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	f.floors = floors
	for _, phase := range phases {
		if err := phase.run(f, ctx); err != nil {
			return nil, err
		}
	}
	return f.results, nil
}
