// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// listOptions are those of `list`.
type listOptions struct {
	*Environment
	targets targets
	print   printing
	states  []string
	within  span
}

func newListCommand(e *Environment) *cobra.Command {
	o := &listOptions{Environment: e}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls", "get"},
		Short:   "List certificates, those that expire first at the top, and sum up",
		Example: example(`
			# what the namespace has
			kubectl devicecert list
			# what needs a look, in the whole cluster
			kubectl devicecert list -A --state Expired,Failed,RenewalFailing
			# what expires within a week
			kubectl devicecert list -A --expires-within 7d`),
		Args: cobra.NoArgs,
		RunE: run(o),
	}
	o.targets.addFlags(cmd)
	o.print.addFlags(cmd)
	cmd.Flags().StringSliceVar(&o.states, "state", nil, "only those in these states: "+stateNames())
	cmd.Flags().Var(&o.within, "expires-within", "only those that expire within this time, such as 30d or 36h")
	complete(cmd, "state", strings.Split(stateNames(), ", "))
	return cmd
}

func stateNames() string {
	var names []string
	for _, s := range states {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}

// span is a flag's duration. It may be in days, in which people count the lives of certificates.
type span time.Duration

// Type is what the help calls it.
func (*span) Type() string { return "duration" }

// String is empty for none.
func (d *span) String() string {
	if *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}

// Set reads it.
func (d *span) Set(text string) error {
	if number, ok := strings.CutSuffix(text, "d"); ok {
		if days, err := strconv.ParseUint(number, 10, 16); err == nil {
			*d = span(days) * span(24*time.Hour)
			return nil
		}
	}
	parsed, err := time.ParseDuration(text)
	if err != nil || parsed < 0 {
		return errors.New("say it in days or in hours and minutes, such as 30d or 36h30m")
	}
	*d = span(parsed)
	return nil
}

// Complete does nothing: the flags say it all.
func (o *listOptions) Complete([]string) error {
	o.targets.all = true
	return nil
}

// Validate refuses states that are none.
func (o *listOptions) Validate() error {
	for i, name := range o.states {
		at := slices.IndexFunc(states, func(s state) bool { return strings.EqualFold(string(s), name) })
		if at < 0 {
			return fmt.Errorf("--state %s is none: choose from %s", name, stateNames())
		}
		o.states[i] = string(states[at])
	}
	return o.targets.validate()
}

// Run lists.
func (o *listOptions) Run(ctx context.Context) error {
	s, err := o.connect()
	if err != nil {
		return err
	}
	list, err := o.targets.list(ctx, s)
	if err != nil {
		return err
	}
	now := o.Clock.Now()
	list.Items = slices.DeleteFunc(list.Items, func(c v1alpha1.DeviceCertificate) bool { return !o.wanted(&c, now) })
	slices.SortStableFunc(list.Items, soonestFirst)
	if o.print.objects() {
		return o.print.print(list, o.Out)
	}
	if len(list.Items) == 0 {
		fmt.Fprintf(o.ErrOut, "No DeviceCertificates%s in %s.\n", o.narrowed(), o.targets.place(s))
		return nil
	}
	o.show(list.Items, now)
	return nil
}

// narrowed says that there may be others.
func (o *listOptions) narrowed() string {
	if len(o.states) > 0 || o.within > 0 || o.targets.selector != "" || o.targets.fields != "" {
		return " of that kind"
	}
	return ""
}

func (o *listOptions) wanted(c *v1alpha1.DeviceCertificate, now time.Time) bool {
	if len(o.states) > 0 && !slices.Contains(o.states, string(stateOf(c, now))) {
		return false
	}
	return o.within == 0 || c.Status.NotAfter != nil && c.Status.NotAfter.Time.Before(now.Add(time.Duration(o.within)))
}

// soonestFirst sorts by the end of validity; those without a certificate come last.
func soonestFirst(a, b v1alpha1.DeviceCertificate) int {
	switch x, y := a.Status.NotAfter, b.Status.NotAfter; {
	case x != nil && y != nil && !x.Equal(y):
		return x.Time.Compare(y.Time)
	case x != nil && y == nil:
		return -1
	case x == nil && y != nil:
		return 1
	}
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

func (o *listOptions) show(items []v1alpha1.DeviceCertificate, now time.Time) {
	head := []string{"NAME", "STATE", "REASON", "EXPIRES", "RENEWS", "SECRET"}
	if o.targets.allNamespaces {
		head = append([]string{"NAMESPACE"}, head...)
	}
	if o.print.wide() {
		head = append(head, "ISSUER", "PROFILE", "KEY", "SERIAL")
	}
	rows := make([][]cell, 0, len(items))
	for i := range items {
		rows = append(rows, o.row(&items[i], now))
	}
	o.table(head, rows)
	fmt.Fprintln(o.Out)
	fmt.Fprintln(o.Out, summary(items, now))
}

func (o *listOptions) row(c *v1alpha1.DeviceCertificate, now time.Time) []cell {
	is := stateOf(c, now)
	var cells []cell
	if o.targets.allNamespaces {
		cells = append(cells, cell{text: c.Namespace})
	}
	cells = append(cells,
		cell{text: c.Name}, cell{string(is), is.tone()}, cell{text: orNone(clean(reason(c)))}, expiry(c, now),
		cell{text: day(c.Status.RenewalTime, now)}, cell{text: orNone(c.Status.SecretName)})
	if o.print.wide() {
		cells = append(cells,
			cell{text: fmt.Sprintf("%s/%s", c.Spec.IssuerRef.Kind, c.Spec.IssuerRef.Name)}, cell{text: c.Spec.EnrollmentProfileID},
			cell{text: orNone(clean(c.Status.KeyType))}, cell{text: orNone(clean(c.Status.SerialNumber))})
	}
	return cells
}

// reason is what is the matter, or what is to be remarked when nothing is.
func reason(c *v1alpha1.DeviceCertificate) string {
	if matter := concern(c); matter.Type != "" {
		return matter.Reason
	}
	if found := remarks(c); len(found) > 0 {
		return found[0].Type
	}
	return ""
}

// expiry is red once the renewal should have happened and a tenth of the lifetime, at most, is left.
func expiry(c *v1alpha1.DeviceCertificate, now time.Time) cell {
	text := cell{text: day(c.Status.NotAfter, now)}
	from, to := c.Status.NotBefore, c.Status.NotAfter
	if from != nil && to != nil && to.Sub(now) < to.Sub(from.Time)/10 {
		text.tone = bad
	}
	return text
}

// summary is the fleet in a line or two.
func summary(items []v1alpha1.DeviceCertificate, now time.Time) string {
	number := make(map[state]int)
	var orphans int
	var soonest *v1alpha1.DeviceCertificate
	for i := range items {
		c := &items[i]
		number[stateOf(c, now)]++
		orphans += len(c.Status.Orphans)
		if soonest == nil && c.Status.NotAfter != nil && c.Status.NotAfter.After(now) {
			soonest = c
		}
	}
	var parts []string
	for _, s := range slices.Backward(states) {
		if n := number[s]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, s.words()))
		}
	}
	text := fmt.Sprintf("%s: %s", count(len(items), "certificate"), strings.Join(parts, ", "))
	if orphans > 0 {
		text += "; " + count(orphans, "orphan")
	}
	if soonest != nil {
		text += fmt.Sprintf("\nnext to expire: %s on %s", title(soonest), when(soonest.Status.NotAfter.Time, now))
	}
	return text
}
