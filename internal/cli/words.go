// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/duration"
)

// instant is a time for people: in UTC, to the minute.
func instant(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// relative is how far a time lies ahead or back.
func relative(t, now time.Time) string {
	switch d := t.Sub(now); {
	case d >= time.Second:
		return "in " + duration.HumanDuration(d)
	case d <= -time.Second:
		return duration.HumanDuration(-d) + " ago"
	default:
		return "now"
	}
}

// when is a time both ways.
func when(t, now time.Time) string { return fmt.Sprintf("%s (%s)", instant(t), relative(t, now)) }

// day is a time in a table.
func day(t *metav1.Time, now time.Time) string {
	if t == nil {
		return none
	}
	return fmt.Sprintf("%s (%s)", t.UTC().Format("2006-01-02"), relative(t.Time, now))
}

// none stands for a value that is not there.
const none = "-"

func orNone(text string) string {
	if text == "" {
		return none
	}
	return text
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// enumerate lists texts, the last one after "and".
func enumerate(texts []string) string {
	if len(texts) < 2 {
		return strings.Join(texts, "")
	}
	return strings.Join(texts[:len(texts)-1], ", ") + " and " + texts[len(texts)-1]
}
