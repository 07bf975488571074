// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// doctorOptions are those of `doctor`.
type doctorOptions struct {
	*Environment
	targets targets
	report  report
}

func newDoctorCommand(e *Environment) *cobra.Command {
	o := &doctorOptions{Environment: e}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check operator, issuers, your rights, clocks and certificates",
		Long: "Check what has to be right for certificates to be issued and renewed: the kinds and their version, the operator, the issuers and what\n" +
			"their credentials can do, clocks, your own rights, and certificates that fail. It changes nothing, and ends with 1 when something\n" +
			"is wrong.",
		Example: example(`
			kubectl devicecert doctor
			kubectl devicecert doctor -A -o json`),
		Args: cobra.NoArgs,
		RunE: run(o),
	}
	cmd.Flags().BoolVarP(&o.targets.allNamespaces, "all-namespaces", "A", false, "look at the issuers and certificates of all namespaces")
	o.report.addFlags(cmd)
	return cmd
}

// Complete does nothing: the flags say it all.
func (o *doctorOptions) Complete([]string) error { return nil }

// Validate looks at the format.
func (o *doctorOptions) Validate() error { return o.report.validate() }

// health is the verdict of a check.
type health string

// The verdicts. Unknown is what the user may not read.
const (
	healthy   health = "OK"
	dubious   health = "Warning"
	unhealthy health = "Problem"
	unknown   health = "Unknown"
)

// finding is one line of the examination.
type finding struct {
	Area   string `json:"area"`
	Health health `json:"health"`
	Text   string `json:"text"`
	// Remedy says what to do.
	Remedy string `json:"remedy,omitempty"`
}

// examination is everything that was found.
type examination struct {
	Findings []finding `json:"findings"`
}

func (x *examination) add(area string, h health, text, remedy string) {
	x.Findings = append(x.Findings, finding{Area: area, Health: h, Text: clean(text), Remedy: remedy})
}

// Run examines.
func (o *doctorOptions) Run(ctx context.Context) error {
	s, err := o.connect()
	if err != nil {
		return err
	}
	x := &examination{}
	if o.kinds(ctx, s, x) {
		o.operator(ctx, s, x)
		o.clocks(s, x)
		o.rights(ctx, s, x)
		o.issuers(ctx, s, x)
		o.certificates(ctx, s, x)
	}
	printed, err := o.report.print(x, o.Out)
	if err != nil {
		return err
	}
	if !printed {
		o.show(x)
	}
	for _, f := range x.Findings {
		if f.Health == unhealthy {
			return exitError(ExitFailed)
		}
	}
	return nil
}

func (o *doctorOptions) show(x *examination) {
	p := painter(o.Colours)
	signs := map[health]string{
		healthy: p.paint(good, "ok      "), dubious: p.paint(busy, "warning "), unhealthy: p.paint(bad, "problem "), unknown: p.paint(faint, "unknown "),
	}
	area := ""
	for _, f := range x.Findings {
		if f.Area != area {
			area = f.Area
			fmt.Fprintln(o.Out, p.paint(strong, area))
		}
		fmt.Fprintf(o.Out, "  %s%s\n", signs[f.Health], f.Text)
		if f.Remedy != "" {
			fmt.Fprintf(o.Out, "          %s\n", p.paint(faint, f.Remedy))
		}
	}
}

// kinds looks for the kinds. Without them there is nothing else to look at.
func (o *doctorOptions) kinds(ctx context.Context, s *session, x *examination) bool {
	const area = "Kinds"
	err := s.List(ctx, &v1alpha1.DeviceCertificateList{}, client.InNamespace(s.namespace), client.Limit(1))
	if unknownKind(err) {
		x.add(area, unhealthy, "the cluster does not know DeviceCertificates", "install devicecert-operator, or choose another --context")
		return false
	}
	switch verdict, words := s.apiVersion(ctx); verdict {
	case healthy:
		x.add(area, healthy, "the cluster serves "+words, "")
	case unhealthy:
		x.add(area, unhealthy, "the cluster serves "+words+", and this plugin speaks "+v1alpha1.SchemeGroupVersion.String(), "bring plugin and operator to the same version")
	default:
		x.add(area, verdict, words, "")
	}
	return true
}

func (o *doctorOptions) operator(ctx context.Context, s *session, x *examination) {
	verdict, words := s.operatorVersion(ctx)
	remedy := map[health]string{
		unknown: "whoever runs the cluster can tell whether the operator runs",
		dubious: "nothing is issued or renewed until a replica is ready, unless the operator runs elsewhere",
	}[verdict]
	x.add("Operator", verdict, words, remedy)
}

// clocks compares this machine's clock with the API server's. Times in annotations are made here.
func (o *doctorOptions) clocks(s *session, x *examination) {
	const tolerated = 30 * time.Second
	skew, known := s.server.ahead()
	switch {
	case !known:
	case skew.Abs() > tolerated:
		x.add("Clock", dubious, fmt.Sprintf("this machine's clock is %s apart from the API server's", skew.Abs().Round(time.Second)),
			"set it by NTP: what is shown here as expired or due may not be")
	default:
		x.add("Clock", healthy, "this machine and the API server agree", "")
	}
}

// rights asks the API server what the user may do.
func (o *doctorOptions) rights(ctx context.Context, s *session, x *examination) {
	const area = "Your rights"
	namespace, place := s.namespace, " in namespace "+s.namespace
	if o.targets.allNamespaces {
		namespace, place = "", " in all namespaces" // what a review without one asks for
	}
	for _, r := range []struct {
		group, resource, verb, without string
		needed                         bool
	}{
		{v1alpha1.SchemeGroupVersion.Group, "devicecertificates", "list", "list, status and everything else", true},
		{v1alpha1.SchemeGroupVersion.Group, "devicecertificates", "watch", "--wait", false},
		{v1alpha1.SchemeGroupVersion.Group, "devicecertificates", "patch", "renew, retry, abandon, acknowledge, revoke and plan", false},
		{v1alpha1.SchemeGroupVersion.Group, "deviceissuers", "get", "the issuer in status and plan", false},
		{v1alpha1.SchemeGroupVersion.Group, "clusterdeviceissuers", "get", "cluster-wide issuers in status and plan", false},
		{"", "secrets", "get", "inspect, and Secrets in status and plan", false},
		{"", "events", "list", "events in status", false},
		{"", "configmaps", "list", "profile", false},
	} {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Group: r.group, Resource: r.resource, Verb: r.verb},
		}}
		what := r.verb + " " + r.resource + place
		if r.resource == "clusterdeviceissuers" {
			review.Spec.ResourceAttributes.Namespace, what = "", r.verb+" "+r.resource
		}
		switch err := s.Create(ctx, review); {
		case err != nil:
			x.add(area, unknown, what+": "+err.Error(), "")
		case review.Status.Allowed:
			x.add(area, healthy, what, "")
		case r.needed:
			x.add(area, unhealthy, "you may not "+what, "needed for "+r.without+": ask for the role view of the namespace")
		default:
			x.add(area, dubious, "you may not "+what, "needed for "+r.without)
		}
	}
}

func (o *doctorOptions) issuers(ctx context.Context, s *session, x *examination) {
	const area = "Issuers"
	var found []*issuer
	namespaced := &v1alpha1.DeviceIssuerList{}
	var in []client.ListOption
	if !o.targets.allNamespaces {
		in = append(in, client.InNamespace(s.namespace))
	}
	if err := s.List(ctx, namespaced, in...); err != nil {
		x.add(area, unknown, "DeviceIssuers: "+unreadable(err), "")
	}
	for i := range namespaced.Items {
		found = append(found, issuerOf(&namespaced.Items[i]))
	}
	wide := &v1alpha1.ClusterDeviceIssuerList{}
	if err := s.List(ctx, wide); err != nil {
		x.add(area, unknown, "ClusterDeviceIssuers: "+unreadable(err), "")
	}
	for i := range wide.Items {
		found = append(found, issuerOf(&wide.Items[i]))
	}
	for _, i := range found {
		o.issuer(i, x)
	}
	if len(found) == 0 {
		x.add(area, dubious, "there is none that you can see", "create a DeviceIssuer, or ask for a ClusterDeviceIssuer that grants this namespace what it needs")
	}
}

func (o *doctorOptions) issuer(i *issuer, x *examination) {
	const area = "Issuers"
	name := i.String()
	if i.GetNamespace() != "" {
		name = fmt.Sprintf("%s %s/%s", i.kind, i.GetNamespace(), i.GetName())
	}
	ready := condition(i.status.Conditions, v1alpha1.ConditionReady)
	switch {
	case i.spec.Suspend:
		x.add(area, dubious, name+" is suspended: nothing is bought through it", "set its spec.suspend to false")
	case ready.Type == "":
		x.add(area, unhealthy, name+" has not been looked at", "no operator serves it: look at the operator, and at its --namespaces and --issuer-selector")
	case ready.Status != metav1.ConditionTrue:
		x.add(area, unhealthy, fmt.Sprintf("%s is not ready, %s: %s", name, ready.Reason, ready.Message), "")
	default:
		x.add(area, healthy, fmt.Sprintf("%s is ready, %s; it can %s", name, ready.Reason, abilities(i.status.Capabilities)), "")
	}
	now := o.Clock.Now()
	if at := i.status.CredentialExpiresAt; at != nil && at.Time.Before(now.Add(30*24*time.Hour)) {
		x.add(area, dubious, fmt.Sprintf("%s: its credential ends on %s", name, when(at.Time, now)), "renew the client certificate in its Secret")
	}
	if skew := i.status.ClockSkewSeconds; skew != nil && *skew != 0 {
		x.add(area, dubious, fmt.Sprintf("%s: the vendor's clock is %d s ahead of the operator's", name, *skew), "set the clocks of the cluster's nodes by NTP: above five minutes nothing is bought")
	}
	for _, b := range i.status.BlockedProfiles {
		x.add(area, unhealthy, fmt.Sprintf("%s does not buy from profile %s in format %s, %s: %s", name, b.ProfileID, b.Format, b.Reason, b.Message), "")
	}
}

// abilities are what a credential can do, and what it cannot or is not known to.
func abilities(c *v1alpha1.Capabilities) string {
	if c == nil {
		return "do what is not known yet"
	}
	var can, cannot, untried []string
	for _, a := range []struct {
		word  string
		state v1alpha1.CapabilityState
	}{{"enroll", c.Enroll}, {"renew", c.Renew}, {"search", c.Search}, {"revoke", c.Revoke}, {"read profiles", c.Specification}} {
		switch a.state {
		case v1alpha1.CapabilityYes:
			can = append(can, a.word)
		case v1alpha1.CapabilityNo:
			cannot = append(cannot, a.word)
		default:
			untried = append(untried, a.word)
		}
	}
	text := orWord(enumerate(can), "do nothing that was tried")
	if len(cannot) > 0 {
		text += ", cannot " + enumerate(cannot)
	}
	if len(untried) > 0 {
		text += "; not known: " + enumerate(untried)
	}
	return text
}

func orWord(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// certificates lists those that fail, and sums the others up.
func (o *doctorOptions) certificates(ctx context.Context, s *session, x *examination) {
	const area = "Certificates"
	list, err := o.targets.list(ctx, s)
	if err != nil {
		x.add(area, unknown, err.Error(), "")
		return
	}
	now := o.Clock.Now()
	var orphans int
	for i := range list.Items {
		c := &list.Items[i]
		orphans += len(c.Status.Orphans)
		matter, look := concern(c), fmt.Sprintf("kubectl devicecert status %s -n %s", c.Name, c.Namespace)
		switch is := stateOf(c, now); {
		case is == stateUnseen:
			x.add(area, dubious, title(c)+" has not been looked at", "look at the operator, and at its --namespaces and --issuer-selector")
		case is == stateExpired || is == stateFailed || is == stateRenewalFailing || matter.Reason == v1alpha1.ReasonIssuerNotFound:
			x.add(area, unhealthy, fmt.Sprintf("%s is %s, %s: %s", title(c), is.words(), matter.Reason, matter.Message), look)
		}
		for _, one := range remarks(c) {
			x.add(area, dubious, fmt.Sprintf("%s, %s: %s", title(c), one.Type, one.Message), look)
		}
	}
	if orphans > 0 {
		x.add(area, dubious, count(orphans, "orphan")+": certificates whose private key was lost", "kubectl devicecert status shows them, and acknowledge takes them off the list")
	}
	if len(list.Items) > 0 {
		x.add(area, healthy, strings.ReplaceAll(summary(list.Items, now), "\n", "; "), "")
	}
}
