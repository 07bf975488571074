// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// ending says whether there is more to wait for.
type ending int

const (
	goesOn ending = iota
	succeeded
	failed
)

// A judge looks at an object and says how what was asked for stands, in words. An empty text is nothing to tell.
type judge func(*v1alpha1.DeviceCertificate) (ending, string)

// progressOf judges an object that works on something: it fails when nothing more will happen until somebody acts. What had failed
// before, and is being tried again, is no failure yet.
func progressOf(before, c *v1alpha1.DeviceCertificate, now time.Time) (ending, string) {
	if c.UID != before.UID || c.DeletionTimestamp != nil {
		return failed, "it was deleted"
	}
	stale := c.Status.Failures != nil && sameFailures(before.Status.Failures, c.Status.Failures)
	if why := blocked(c); why != "" && !stale {
		return failed, clean(why)
	}
	f := c.Status.Failures
	if f != nil && !stale && f.NextTime != nil && f.NextTime.After(now) {
		return goesOn, fmt.Sprintf("failed, and tried again on %s: %s", when(f.NextTime.Time, now), clean(f.Message))
	}
	if a := c.Status.Attempt; a != nil && a.Failure != "" {
		return goesOn, "the answer was lost, and the operator finds out what became of it: " + clean(a.Failure)
	}
	return goesOn, ""
}

func sameFailures(a, b *v1alpha1.Failures) bool {
	return a != nil && b != nil && a.Count == b.Count && a.LastTime.Equal(b.LastTime)
}

// waiting is a set of objects that are waited for.
type waiting struct {
	*Environment
	session *session
	done    string
	timeout time.Duration

	open     map[types.UID]*awaited
	total    int
	failures int
	progress progress
}

// awaited is one of them.
type awaited struct {
	object *v1alpha1.DeviceCertificate
	judge  judge
	told   string
}

// newWait prepares to wait; done is what the objects will be.
func (e *Environment) newWait(s *session, done string, timeout time.Duration) *waiting {
	return &waiting{Environment: e, session: s, done: done, timeout: timeout, open: make(map[types.UID]*awaited)}
}

func (w *waiting) add(object *v1alpha1.DeviceCertificate, j judge) {
	w.open[object.UID] = &awaited{object: object, judge: j}
}

// run waits until every object's judge has come to an end. It fails if one of them failed, or the time is over.
func (w *waiting) run(ctx context.Context) error {
	w.total = len(w.open)
	w.progress = w.newProgress(w.total, w.done)
	const pause = time.Second // before listing anew after a watch has ended
	err := wait.PollUntilContextTimeout(ctx, pause, w.timeout, true, func(ctx context.Context) (bool, error) {
		if err := w.look(ctx); err != nil && ctx.Err() == nil {
			return false, err
		}
		return len(w.open) == 0, nil
	})
	w.progress.close()
	switch {
	case err == nil && w.failures == 0:
		return nil
	case err == nil && w.total == 1:
		return exitError(ExitFailed) // the one line said it
	case err == nil:
		return fmt.Errorf("%d of %d were not %s", w.failures, w.total, w.done)
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted: %s not %s yet, and what was asked for goes on", count(len(w.open), "certificate"), w.done)
	case wait.Interrupted(err):
		return fmt.Errorf("not %s after %s, and tried further by the operator:\n%s", w.done, w.timeout, w.leftovers())
	}
	return explain(err, "wait")
}

// leftovers says of each object that is not done yet how it stands.
func (w *waiting) leftovers() string {
	var lines []string
	for _, a := range w.open {
		why := concern(a.object).Message
		if why == "" {
			why = "the operator has not taken notice; `kubectl devicecert doctor` tells whether it runs"
		}
		lines = append(lines, fmt.Sprintf("  %s: %s", title(a.object), clean(why)))
	}
	return strings.Join(lines, "\n")
}

// look lists the objects, and watches them until the watch ends or nothing is left to wait for.
func (w *waiting) look(ctx context.Context) error {
	list := &v1alpha1.DeviceCertificateList{}
	if err := w.session.List(ctx, list, w.scope("")); err != nil {
		return err
	}
	here := make(map[types.UID]bool)
	for i := range list.Items {
		here[list.Items[i].UID] = true
		w.judge(&list.Items[i])
	}
	for uid, a := range w.open {
		if !here[uid] {
			w.end(uid, a, failed, "it was deleted")
		}
	}
	if len(w.open) == 0 {
		return nil
	}
	watcher, err := w.session.Watch(ctx, &v1alpha1.DeviceCertificateList{}, w.scope(list.ResourceVersion))
	if err != nil {
		return err
	}
	defer watcher.Stop()
	for event := range watcher.ResultChan() {
		switch c, ok := event.Object.(*v1alpha1.DeviceCertificate); {
		case event.Type == watch.Error:
			if err := apierrors.FromObject(event.Object); !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
				return err
			}
			return nil
		case ok && event.Type == watch.Deleted && w.open[c.UID] != nil:
			w.end(c.UID, w.open[c.UID], failed, "it was deleted")
		case ok:
			w.judge(c)
		}
		if len(w.open) == 0 {
			return nil
		}
	}
	return nil
}

// scope is as narrow as covers all objects.
func (w *waiting) scope(version string) client.ListOption {
	options := &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: version}}
	first := true
	for _, a := range w.open {
		switch {
		case first:
			options.Namespace = a.object.Namespace
		case options.Namespace != a.object.Namespace:
			options.Namespace = ""
			return options
		}
		first = false
	}
	for _, a := range w.open {
		if len(w.open) == 1 {
			options.FieldSelector = fields.OneTermEqualSelector("metadata.name", a.object.Name)
		}
	}
	return options
}

func (w *waiting) judge(c *v1alpha1.DeviceCertificate) {
	a := w.open[c.UID]
	if a == nil {
		return
	}
	a.object = c.DeepCopy()
	end, text := a.judge(c)
	if end != goesOn {
		w.end(c.UID, a, end, text)
		return
	}
	if text != "" && text != a.told {
		a.told = text
		w.progress.note(title(c) + ": " + text)
	}
}

func (w *waiting) end(uid types.UID, a *awaited, end ending, text string) {
	delete(w.open, uid)
	tone := good
	if end == failed {
		w.failures++
		tone, text = bad, "not "+w.done+": "+text
	}
	w.progress.finish(title(a.object) + ": " + painter(w.Colours).paint(tone, text))
}
