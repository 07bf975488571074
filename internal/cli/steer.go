// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// steering is what the verbs that set an annotation share.
type steering struct {
	wait    bool
	timeout time.Duration
	yes     bool
}

func (o *steering) addFlags(cmd *cobra.Command, waitsFor string) {
	cmd.Flags().BoolVar(&o.wait, "wait", false, "wait until "+waitsFor)
	cmd.Flags().DurationVar(&o.timeout, "timeout", 5*time.Minute, "how long to wait at most; what was asked for goes on afterwards")
}

func (o *steering) addYesFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask")
}

func (o *steering) validate() error {
	if o.timeout <= 0 {
		return errors.New("--timeout must be longer than nothing, such as 5m")
	}
	return nil
}

// annotate sets annotations of the very object that was read: one that was created anew meanwhile is left alone.
func (s *session) annotate(ctx context.Context, c *v1alpha1.DeviceCertificate, annotations map[string]string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": c.UID, "annotations": annotations}})
	if err != nil {
		return err
	}
	return explain(s.Patch(ctx, c, client.RawPatch(types.MergePatchType, patch), fieldOwner), "annotate "+title(c))
}

// fresh is a time for an annotation: the later of the two clocks at hand, so that a slow one here does not date the wish before the
// certificate it is about, and none of those that count as handled.
func (s *session) fresh(now time.Time, after time.Time, handled ...string) string {
	at := now
	if skew, known := s.server.ahead(); known && skew > 0 {
		at = at.Add(skew)
	}
	at = at.UTC().Truncate(time.Second)
	if !at.After(after) {
		at = after.UTC().Truncate(time.Second).Add(time.Second)
	}
	for {
		value := at.Format(time.RFC3339)
		used := false
		for _, h := range handled {
			used = used || h == value
		}
		if !used {
			return value
		}
		at = at.Add(time.Second)
	}
}

// confirm asks, unless the user said --yes.
func (e *Environment) confirm(yes bool, question string) error {
	switch {
	case yes:
		return nil
	case !e.Interactive:
		return fmt.Errorf("%s. Nobody is there to ask, so nothing was done: add --yes", question)
	}
	fmt.Fprintf(e.ErrOut, "%s. Go on? [y/N] ", question)
	answer, err := bufio.NewReader(e.In).ReadString('\n')
	if err != nil && answer == "" {
		return fmt.Errorf("read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was done")
}

// say is a line about an object.
func (e *Environment) say(c *v1alpha1.DeviceCertificate, format string, args ...any) {
	fmt.Fprintf(e.Out, "%s: %s\n", title(c), fmt.Sprintf(format, args...))
}
