// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controlplane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Program returns the path of one of the programs of `make controlplane`, such as kubectl, for tests that need no control plane.
func Program(name string) (string, error) {
	dir, err := findPrograms("")
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, name), nil
}

// findPrograms returns the absolute folder that holds all four programs: dir if it is not empty,
// else the one named by KUBEBUILDER_ASSETS if it is complete (setup-envtest's has no controller
// manager), else bin/k8s of the enclosing module.
func findPrograms(dir string) (string, error) {
	if dir == "" {
		dir = os.Getenv("KUBEBUILDER_ASSETS")
		if dir == "" || missingProgram(dir) != nil {
			root, err := moduleRoot()
			if err != nil {
				return "", err
			}
			dir = filepath.Join(root, "bin", "k8s")
		}
	}
	if err := missingProgram(dir); err != nil {
		return "", fmt.Errorf("find the control plane's programs: %w; run make controlplane", err)
	}
	return filepath.Abs(dir)
}

// missingProgram returns an error that names the first program dir lacks.
func missingProgram(dir string) error {
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kubectl"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// moduleRoot returns the closest folder at or above the working directory that holds a go.mod.
// Tests run in their package's folder.
func moduleRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the module's root: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		_, err := os.Stat(filepath.Join(dir, "go.mod"))
		if err == nil {
			return dir, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("find the module's root: %w", err)
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("find the module's root: no go.mod at or above %s; name the programs' folder in KUBEBUILDER_ASSETS", start)
		}
	}
}
