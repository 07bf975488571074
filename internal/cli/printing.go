// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/yaml"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// printing is how objects are printed: for people, or as they are.
type printing struct {
	flags  *genericclioptions.PrintFlags
	format string
}

// objects tells whether they are wanted as they are.
func (p *printing) objects() bool { return p.format != "" && p.format != formatWide }

func (p *printing) wide() bool { return p.format == formatWide }

const (
	formatWide = "wide"
	formatJSON = "json"
	formatYAML = "yaml"
	formatName = "name"
)

// addFlags registers -o with kubectl's formats.
func (p *printing) addFlags(cmd *cobra.Command) {
	scheme := runtime.NewScheme()
	_ = v1alpha1.AddToScheme(scheme) // it fails only for types that are registered twice
	p.flags = genericclioptions.NewPrintFlags("").WithTypeSetter(scheme)
	p.flags.OutputFormat = &p.format
	p.flags.AddFlags(cmd)
	if f := cmd.Flags().Lookup("output"); f != nil {
		f.Usage = "wide, json, yaml, name, jsonpath=…, go-template=… and kubectl's other formats"
	}
	hide(cmd.Flags(), "allow-missing-template-keys", "template", "show-managed-fields")
	complete(cmd, "output", []string{formatWide, formatJSON, formatYAML, formatName})
}

// print writes objects as the flags ask.
func (p *printing) print(object runtime.Object, out io.Writer) error {
	printer, err := p.flags.ToPrinter()
	if genericclioptions.IsNoCompatiblePrinterError(err) {
		return fmt.Errorf("-o %s is not known here: choose %s, or one of %s", p.format, formatWide, strings.Join(p.flags.AllowedFormats(), ", "))
	}
	if err != nil {
		return err
	}
	// kubectl, too, names the items of a list, which has no name.
	if list, ok := object.(*v1alpha1.DeviceCertificateList); ok && p.format == formatName {
		for i := range list.Items {
			if err := printer.PrintObj(&list.Items[i], out); err != nil {
				return err
			}
		}
		return nil
	}
	return printer.PrintObj(object, out)
}

// report is how a verb's own findings are printed: for people, or as JSON or YAML.
type report struct{ format string }

func (r *report) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&r.format, "output", "o", "", "json or yaml")
	complete(cmd, "output", []string{formatJSON, formatYAML})
}

func (r *report) validate() error {
	if !slices.Contains([]string{"", formatJSON, formatYAML}, r.format) {
		return fmt.Errorf("-o %s is not known here: choose %s or %s", r.format, formatJSON, formatYAML)
	}
	return nil
}

// print writes the findings, unless they are wanted for people.
func (r *report) print(findings any, out io.Writer) (printed bool, err error) {
	var text []byte
	switch r.format {
	case formatJSON:
		text, err = json.MarshalIndent(findings, "", "  ")
		text = append(text, '\n')
	case formatYAML:
		text, err = yaml.Marshal(findings)
	default:
		return false, nil
	}
	if err == nil {
		_, err = out.Write(text)
	}
	return true, err
}

// example takes the indentation of the code away from lines of help.
func example(text string) string {
	var lines []string
	for line := range strings.Lines(strings.TrimPrefix(text, "\n")) {
		lines = append(lines, "  "+strings.TrimSpace(line))
	}
	return strings.Join(lines, "\n")
}
