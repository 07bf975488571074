// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package release builds a small release, of the plugin for this machine, and looks at what a user would download. `make reproducible` does
// the same with everything.
package release

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

const (
	version = "v1.2.3"
	image   = "registry.example/team/devicecert-operator"
	plugin  = "kubectl-devicecert"
)

var platform = runtime.GOOS + "_" + runtime.GOARCH

// build makes a release in a folder of its own.
func build(t *testing.T, umask string, env ...string) map[string][]byte {
	t.Helper()
	tools, assets := os.Getenv("TOOLS"), os.Getenv("KUBEBUILDER_ASSETS")
	if tools == "" {
		tools = "bin/tools"
	}
	if assets == "" {
		assets = "bin/k8s"
	}
	dist := t.TempDir()
	command := exec.CommandContext(t.Context(), "bash", "-c", "umask "+umask+" && hack/release.sh")
	command.Dir = "../.."
	command.Env = append(os.Environ(), append([]string{
		"VERSION=" + version, "IMAGE=" + image, "DIST=" + dist, "PLATFORMS=", "PLUGIN_PLATFORMS=" + runtime.GOOS + "/" + runtime.GOARCH,
		"TOOLS=" + tools, "KUBEBUILDER_ASSETS=" + assets, "SOURCE_DATE_EPOCH=1700000000", "DOWNLOADS=https://downloads.example",
	}, env...)...)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	files := map[string][]byte{}
	err := fs.WalkDir(os.DirFS(dist), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[path], err = os.ReadFile(filepath.Join(dist, path))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// unpack reads an archive of a release.
func unpack(t *testing.T, archive []byte) map[string][]byte {
	t.Helper()
	unzipped, err := gzip.NewReader(strings.NewReader(string(archive)))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]byte{}
	for reader := tar.NewReader(unzipped); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Uid != 0 || header.Gid != 0 || header.Uname != "" || header.ModTime.Unix() != 1700000000 {
			t.Errorf("%s tells of the machine: %+v", header.Name, header)
		}
		if found[header.Name], err = io.ReadAll(reader); err != nil {
			t.Fatal(err)
		}
	}
}

func read[T any](t *testing.T, text []byte) T {
	t.Helper()
	var into T
	if err := yaml.Unmarshal(text, &into); err != nil {
		t.Fatal(err)
	}
	return into
}

func TestAReleaseIsWholeAndTheSameTwice(t *testing.T) {
	files := build(t, "022", "TZ=UTC")
	archive := plugin + "_" + version + "_" + platform + ".tar.gz"
	var want []string
	for _, name := range []string{archive, "devicecert-operator-1.2.3.tgz", "install.yaml", "krew.yaml"} {
		want = append(want, fmt.Sprintf("%x  %s", sha256.Sum256(files[name]), name))
	}
	if diff := cmp.Diff(strings.Join(want, "\n")+"\n", string(files["checksums.txt"])); diff != "" {
		t.Errorf("checksums (-want +got):\n%s", diff)
	}
	t.Run("the plugin knows its version", func(t *testing.T) { pluginKnowsItsVersion(t, files[archive]) })
	t.Run("Krew finds the plugin", func(t *testing.T) { krewFindsIt(t, files, archive) })
	t.Run("the chart is of this version and image", func(t *testing.T) {
		chart := unpack(t, files["devicecert-operator-1.2.3.tgz"])
		about := read[struct{ Version, AppVersion string }](t, chart["devicecert-operator/Chart.yaml"])
		values := read[struct {
			Image struct{ Repository, Tag string }
		}](t, chart["devicecert-operator/values.yaml"])
		if about.Version != "1.2.3" || about.AppVersion != version || values.Image.Repository != image || values.Image.Tag != "" {
			t.Errorf("chart %+v, image %+v", about, values.Image)
		}
	})
	t.Run("install.yaml names the image", func(t *testing.T) {
		if n := strings.Count(string(files["install.yaml"]), "image: "+image+":"+version+"\n"); n != 1 {
			t.Errorf("it names it %d times", n)
		}
	})
	t.Run("another time zone, language and umask change nothing", func(t *testing.T) {
		again := build(t, "077", "TZ=Pacific/Auckland", "LC_ALL=C.UTF-8", "LANG=C.UTF-8")
		for name, text := range files {
			if string(again[name]) != string(text) {
				t.Errorf("%s differs", name)
			}
		}
	})
}

func pluginKnowsItsVersion(t *testing.T, archive []byte) {
	path := filepath.Join(t.TempDir(), plugin)
	if err := os.WriteFile(path, unpack(t, archive)[plugin], 0o700); err != nil {
		t.Fatal(err)
	}
	output, err := exec.CommandContext(t.Context(), path, "version").CombinedOutput()
	if err != nil || !strings.Contains(string(output), version) {
		t.Errorf("it says %q: %v", output, err)
	}
}

func krewFindsIt(t *testing.T, files map[string][]byte, archive string) {
	type platformOf struct {
		Selector         struct{ MatchLabels map[string]string }
		URI, SHA256, Bin string
	}
	manifest := read[struct {
		Spec struct {
			Version   string
			Platforms []platformOf
		}
	}](t, files["krew.yaml"])
	want := []platformOf{{URI: "https://downloads.example/" + archive, SHA256: fmt.Sprintf("%x", sha256.Sum256(files[archive])), Bin: plugin}}
	want[0].Selector.MatchLabels = map[string]string{"os": runtime.GOOS, "arch": runtime.GOARCH}
	if diff := cmp.Diff(want, manifest.Spec.Platforms); diff != "" || manifest.Spec.Version != version {
		t.Errorf("version %s, platforms (-want +got):\n%s", manifest.Spec.Version, diff)
	}
	if unpack(t, files[archive])[manifest.Spec.Platforms[0].Bin] == nil {
		t.Errorf("the archive has no %s", manifest.Spec.Platforms[0].Bin)
	}
}
