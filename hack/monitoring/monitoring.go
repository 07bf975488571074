// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package monitoring names the Prometheus operator's types, of which the tests of the chart make its CustomResourceDefinitions, as that
// project does itself. It is a module of its own, since nothing that is shipped needs them.
package monitoring

import _ "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
