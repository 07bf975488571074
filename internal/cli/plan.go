// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/resource"
)

// planOptions are those of `plan`.
type planOptions struct {
	*Environment
	source resource.FilenameOptions
	report report
}

func newPlanCommand(e *Environment) *cobra.Command {
	o := &planOptions{Environment: e}
	cmd := &cobra.Command{
		Use:   "plan -f FILE...",
		Short: "Say what applying files would buy, re-render or have refused",
		Long: "Say what applying files would cost, before they are merged. The API server validates each DeviceCertificate by a dry run, and the\n" +
			"operator's own rules compare it with what is stored. Nothing is changed. Issuers, namespaces and Secrets among the files count as\n" +
			"applied; other kinds are passed over. A field that the cluster has and a file has not counts as removed.\n\n" +
			"Exit status: 0 nothing would be bought, 2 something would be, 3 something would be refused, 1 it could not be found out.\n\n" +
			"You need to get and patch devicecertificates, create them for new ones, and may get issuers, Secrets and the namespace: what you\n" +
			"may not read is assumed to stay as it is, and the answer says so.",
		Example: example(`
			kubectl devicecert plan -f gateway.yaml
			kubectl devicecert plan -k overlays/production -o json
			git show HEAD:certs.yaml | kubectl devicecert plan -f -`),
		Args: cobra.NoArgs,
		RunE: run(o),
	}
	cmd.Flags().StringSliceVarP(&o.source.Filenames, "filename", "f", nil, "files, folders or URLs; - is standard input")
	cmd.Flags().BoolVarP(&o.source.Recursive, "recursive", "R", false, "also folders in folders")
	cmd.Flags().StringVarP(&o.source.Kustomize, "kustomize", "k", "", "a folder with a kustomization.yaml; not together with -f")
	o.report.addFlags(cmd)
	return cmd
}

// Complete does nothing: the flags say it all.
func (o *planOptions) Complete([]string) error { return nil }

// Validate wants a source.
func (o *planOptions) Validate() error {
	if len(o.source.Filenames) == 0 && o.source.Kustomize == "" {
		return errors.New("say which files: -f, or -k for a kustomization")
	}
	return o.report.validate()
}

// Run plans each DeviceCertificate of the files.
func (o *planOptions) Run(ctx context.Context) error {
	s, err := o.connect()
	if err != nil {
		return err
	}
	read, err := o.files(s.namespace)
	if err != nil {
		return err
	}
	if len(read.certificates) == 0 {
		return errors.New("there is no DeviceCertificate in these files")
	}
	p := &planner{session: s, manifests: read, now: o.Clock.Now()}
	var f forecast
	for _, c := range read.certificates {
		one, err := p.foresee(ctx, c)
		if err != nil {
			return err
		}
		f.add(one)
	}
	printed, err := o.report.print(f, o.Out)
	if err != nil {
		return err
	}
	if !printed {
		o.show(f)
	}
	switch {
	case f.Refused > 0:
		return exitError(ExitRefused)
	case f.Buys > 0:
		return exitError(ExitBuys)
	}
	return nil
}

// A verdict says what applying one object would do.
type verdict string

// The verdicts.
const (
	verdictBuys    verdict = "Buys"
	verdictRenders verdict = "Renders"
	verdictNothing verdict = "Nothing"
	verdictRefused verdict = "Refused"
)

// forecast is what applying the files would do.
type forecast struct {
	Buys         int        `json:"buys"`
	Renders      int        `json:"renders"`
	Refused      int        `json:"refused"`
	Certificates []foreseen `json:"certificates"`
}

// foreseen is what applying one object would do.
type foreseen struct {
	Namespace string  `json:"namespace"`
	Name      string  `json:"name"`
	Verdict   verdict `json:"verdict"`
	// Reason is the one the condition would show.
	Reason  string `json:"reason,omitempty"`
	Message string `json:"message,omitempty"`
	// Changed are the fields that cost the certificate.
	Changed []string `json:"changed,omitempty"`
	// WaitsFor says what holds the purchase up, and passes by itself or with somebody's help.
	WaitsFor string `json:"waitsFor,omitempty"`
	// Doubts are why the vendor may refuse what would be bought.
	Doubts []string `json:"doubts,omitempty"`
	// Remarks say what could not be read, and what was assumed instead.
	Remarks []string `json:"remarks,omitempty"`

	// unwanted is why the operator would not ask the vendor for it.
	unwanted string
}

func (f *forecast) add(one foreseen) {
	f.Certificates = append(f.Certificates, one)
	switch one.Verdict {
	case verdictBuys:
		f.Buys++
	case verdictRenders:
		f.Renders++
	case verdictRefused:
		f.Refused++
	}
}

func (o *planOptions) show(f forecast) {
	p := painter(o.Colours)
	words := map[verdict]string{
		verdictBuys: p.paint(busy, "buys a certificate"), verdictRenders: p.paint(good, "re-renders its Secret, and buys nothing"),
		verdictNothing: p.paint(good, "buys nothing"), verdictRefused: p.paint(bad, "is refused"),
	}
	for _, one := range f.Certificates {
		n := leaf("%s %s", p.paint(strong, one.Namespace+"/"+one.Name), words[one.Verdict])
		if one.Message != "" {
			n.add(leaf("%s", clean(one.Message)))
		}
		for _, field := range one.Changed {
			n.add(leaf("changed: %s", clean(field)))
		}
		for _, doubt := range one.Doubts {
			n.add(leaf("%s %s", p.paint(bad, "the vendor may refuse it:"), clean(doubt)))
		}
		if one.WaitsFor != "" {
			n.add(leaf("not at once: %s", clean(one.WaitsFor)))
		}
		for _, remark := range one.Remarks {
			n.add(leaf("%s", p.paint(faint, clean(remark))))
		}
		n.write(o.Out)
	}
	fmt.Fprintf(o.Out, "\nApplying this costs %s; %s re-rendered, %s refused.\n", costs(f.Buys), isAre(f.Renders, "Secret"), isAre(f.Refused, "object"))
}

func costs(n int) string {
	if n == 0 {
		return "nothing"
	}
	return count(n, "certificate")
}

func isAre(n int, noun string) string {
	if n == 1 {
		return "1 " + noun + " is"
	}
	return fmt.Sprintf("%d %ss are", n, noun)
}

func (f *foreseen) remark(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(f.Remarks, text) {
		f.Remarks = append(f.Remarks, text)
	}
}
