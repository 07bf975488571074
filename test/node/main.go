// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Command node tells the operator's story on a real node: a kubelet and containerd beside the control plane, the packaged
// chart installed by Helm, pods that mount the Secrets. hack/node/run.sh starts it in network, mount and process namespaces of its own, which
// end with it and take processes, mounts and interfaces along.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// patience is how long anything may take on a busy machine.
const patience = 4 * time.Minute

func main() {
	var s story
	flag.StringVar(&s.kubelet, "kubelet", "", "the kubelet's program")
	flag.StringVar(&s.images, "images", "", "folder with manager.tar, simulator.tar and workload.tar")
	flag.StringVar(&s.folder, "folder", "", "folder for everything that is written")
	flag.StringVar(&s.helmProgram, "helm", "bin/tools/helm", "Helm's program")
	chapters := flag.String("chapters", "", "regular expression of the titles of the chapters that are told; empty: all")
	flag.Parse()
	var err error
	if s.chapters, err = regexp.Compile(*chapters); err != nil {
		fmt.Fprintf(os.Stderr, "make node: -chapters: %v\n", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := s.tell(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "make node: %v\nlogs and manifests: %s\n", err, s.folder)
		os.Exit(1)
	}
}

// chapter is one thing that is tried. What is basic is told always: the others stand on it.
type chapter struct {
	title string
	tell  func(context.Context) error
	basic bool
}

func (s *story) tell(ctx context.Context) (err error) {
	started := time.Now()
	var summary strings.Builder
	defer func() {
		s.close()
		fmt.Printf("\n%s\n%5.0f s  in all, cleaning up included\n", strings.TrimSuffix(summary.String(), "\n"), time.Since(started).Seconds())
	}()
	for _, c := range []chapter{
		{"a kubelet joins the control plane, and its node is Ready", s.startNode, true},
		{"the packaged chart runs: two replicas under the restricted standard, ready by their probes", s.install, true},
		{"the simulator runs from its manifests, and is reached by its name", s.startVendor, true},
		{"pods that need a certificate wait for it, and start when it is there", s.startGateways, true},
		{"two pods meet by mutual TLS", s.meet, false},
		{"a renewal reaches the mounted files, and is served", s.renew, false},
		{"a pod deleted in the middle of issuing loses nothing", s.deleteLeader, false},
		{"helm upgrade in the middle of issuing loses nothing", s.rollOut, false},
		{"helm uninstall: the cluster runs its job, nothing stays in Terminating, every Secret is intact", s.uninstall, false},
		{"config/default takes everything over, and buys nothing", s.installAgain, false},
	} {
		if !c.basic && !s.chapters.MatchString(c.title) {
			continue
		}
		began := time.Now()
		err := c.tell(ctx)
		outcome := "ok"
		if err != nil {
			outcome = "FAILED"
		}
		line := fmt.Sprintf("%5.0f s  %-6s  %s\n", time.Since(began).Seconds(), outcome, c.title)
		summary.WriteString(line)
		if err != nil {
			s.explain()
			return fmt.Errorf("%s: %w", c.title, err)
		}
		fmt.Print(line)
	}
	return nil
}

// explain writes down what there is before it is cleaned away.
func (s *story) explain() {
	if s.plane == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	objects, err := exec.CommandContext(ctx, s.plane.Kubectl(), "--kubeconfig="+s.plane.Kubeconfig(),
		"get", "clusterdeviceissuers,devicecertificates,pods,events", "--all-namespaces", "--output=yaml").CombinedOutput()
	_, writing := s.write("objects.yaml", string(objects))
	copying := os.CopyFS(filepath.Join(s.folder, "pod-logs"), os.DirFS(filepath.Join(s.folder, "logs")))
	if err := errors.Join(err, writing, copying); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// launch starts a program that runs until the story ends, with its output in a log.
func (s *story) launch(name string, args ...string) error {
	log, err := os.Create(filepath.Join(s.folder, filepath.Base(name)+".log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // the process has its own descriptor
	// It outlives the story's context: pods are deleted before it is stopped.
	command := exec.CommandContext(context.Background(), name, args...)
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		return err
	}
	s.running = append(s.running, command)
	return nil
}

func run(ctx context.Context, name string, args ...string) error {
	if output, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %v: %w\n%s", name, args, err, output)
	}
	return nil
}

func (s *story) write(name, text string) (string, error) {
	path := filepath.Join(s.folder, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return "", err
	}
	return path, os.WriteFile(path, []byte(text), 0o600)
}
