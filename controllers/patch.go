// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/devicecert/devicecert-operator/api/v1alpha1"
)

// statusPatch is the merge patch that brings the status of a DeviceCertificate from base to what it is now, refused if the object is at
// another version than base. Only the statuses are compared: spec and metadata, of which the managed fields alone are larger than the
// status, cannot differ, and comparing them took a good part of the CPU time of an issuance.
type statusPatch struct{ base *v1alpha1.DeviceCertificate }

// Type implements client.Patch.
func (statusPatch) Type() types.PatchType { return types.MergePatchType }

// Data implements client.Patch.
func (p statusPatch) Data(object client.Object) ([]byte, error) {
	c, ok := object.(*v1alpha1.DeviceCertificate)
	if !ok {
		return nil, fmt.Errorf("a status of %T cannot be patched as that of a DeviceCertificate", object)
	}
	patch := client.MergeFromWithOptions(statusAlone(p.base), client.MergeFromWithOptimisticLock{})
	return patch.Data(statusAlone(c))
}

// statusAlone is an object with the status and the version of another, and nothing else of it.
func statusAlone(c *v1alpha1.DeviceCertificate) *v1alpha1.DeviceCertificate {
	return &v1alpha1.DeviceCertificate{ObjectMeta: metav1.ObjectMeta{ResourceVersion: c.ResourceVersion}, Status: c.Status}
}
