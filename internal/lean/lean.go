// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

// Package lean makes objects that are kept for every certificate of a fleet smaller without changing what they say: strings that many of
// them share are kept once, and what decoding has allocated too much is given back.
package lean

import (
	"hash/maphash"
	"maps"
	"reflect"
	"strings"
	"sync"
	"time"
)

// shelf is how many strings are remembered to be shared. Each takes the place of another, so that those which are met again and again
// stay, and a tenant who makes up many crowds out others for a moment at most.
const shelf = 1 << 13

var (
	seed   = maphash.MakeSeed()
	mu     sync.Mutex
	shared [shelf]string
	// lastMap is the map of one entry that was packed last.
	lastMap map[string]string
)

// longest string that is worth sharing: longer ones are messages, mostly of one object alone.
const longest = 512

// String is a string of the same content, if possible one that was seen before.
func String(s string) string {
	if s == "" || len(s) > longest {
		return s
	}
	at := maphash.String(seed, s) % shelf
	mu.Lock()
	defer mu.Unlock()
	if shared[at] != s {
		shared[at] = strings.Clone(s) // s may be a piece of something large
	}
	return shared[at]
}

// Keep is String for a string that lives on in any case and is no piece of something large, such as one of an object in a cache: the shelf
// takes the string itself, so that what is packed next shares it.
func Keep(s string) string {
	if s == "" || len(s) > longest {
		return s
	}
	at := maphash.String(seed, s) % shelf
	mu.Lock()
	defer mu.Unlock()
	if shared[at] != s {
		shared[at] = s
	}
	return shared[at]
}

// Pack makes what a pointer leads to smaller: every string goes through String, slices get the capacity they need, and equal maps may become
// one. Nobody else may look at it meanwhile, and whoever changes it afterwards copies it first, as with everything in a cache.
func Pack(object any) {
	if v := reflect.ValueOf(object); v.Kind() == reflect.Pointer && !v.IsNil() {
		pack(v.Elem())
	}
}

var timeType = reflect.TypeFor[time.Time]()

func pack(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		if v.Len() > 0 {
			v.SetString(String(v.String()))
		}
	case reflect.Pointer:
		if !v.IsNil() {
			pack(v.Elem())
		}
	case reflect.Struct:
		if v.Type() == timeType {
			return
		}
		for i := range v.NumField() {
			if field := v.Field(i); field.CanSet() {
				pack(field)
			}
		}
	case reflect.Slice:
		packSlice(v)
	case reflect.Map:
		packMap(v)
	}
}

func packSlice(v reflect.Value) {
	if v.IsNil() || v.Type().Elem().Kind() == reflect.Uint8 {
		return
	}
	if v.Cap() > v.Len() {
		exact := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
		reflect.Copy(exact, v)
		v.Set(exact)
	}
	for i := range v.Len() {
		pack(v.Index(i))
	}
}

// packMap packs maps of strings; the objects have no others. A map of one entry takes ten times the room of the entry, and a fleet that is
// annotated together has the same entry in all of them: those share the map.
func packMap(v reflect.Value) {
	texts, ok := v.Interface().(map[string]string)
	if !ok || len(texts) == 0 {
		return
	}
	mu.Lock()
	same := maps.Equal(lastMap, texts)
	packed := lastMap
	mu.Unlock()
	if !same {
		packed = make(map[string]string, len(texts))
		for key, value := range texts {
			packed[String(key)] = String(value)
		}
	}
	if len(packed) == 1 {
		mu.Lock()
		lastMap = packed
		mu.Unlock()
	}
	v.Set(reflect.ValueOf(packed))
}
