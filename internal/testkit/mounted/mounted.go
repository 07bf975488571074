// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package mounted stands in for a Secret that a kubelet mounts into a pod: the same links, changed in the same order.
package mounted

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// Volume is a folder in which the kubelet keeps the files of a Secret: each name leads through the link ..data into the folder of the
// current version, so that all files change at one instant. The folder before is then removed.
type Volume struct {
	// Dir is what the pod mounts.
	Dir     string
	version int
}

// New mounts a Secret's data into an empty folder.
func New(dir string, data map[string][]byte) (*Volume, error) {
	v := &Volume{Dir: dir}
	return v, v.Update(data)
}

// Update brings the data of a changed Secret. Names that it no longer has stay as links that lead nowhere, where a kubelet would remove them.
func (v *Volume) Update(data map[string][]byte) error {
	before := v.Current()
	v.version++
	if err := v.exchange(v.Current(), data); err != nil {
		return fmt.Errorf("update the mounted Secret: %w", err)
	}
	return os.RemoveAll(v.File(before))
}

func (v *Volume) exchange(folder string, data map[string][]byte) error {
	if err := os.Mkdir(v.File(folder), 0o750); err != nil {
		return err
	}
	for name, content := range data {
		if err := os.WriteFile(filepath.Join(v.File(folder), name), content, 0o644); err != nil {
			return err
		}
	}
	if err := os.Symlink(folder, v.File("..data_tmp")); err != nil {
		return err
	}
	if err := os.Rename(v.File("..data_tmp"), v.File("..data")); err != nil {
		return err
	}
	for name := range data {
		if err := os.Symlink(filepath.Join("..data", name), v.File(name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// Current is the name of the folder that ..data leads to.
func (v *Volume) Current() string { return "..version_" + strconv.Itoa(v.version) }

// File is where the pod finds a file.
func (v *Volume) File(name string) string { return filepath.Join(v.Dir, name) }
