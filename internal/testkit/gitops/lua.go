// Copyright The devicecert-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"context"
	"errors"
	"fmt"
	"time"

	lua "github.com/yuin/gopher-lua"
)

// luaDeadline is how long Argo CD lets a script run.
const luaDeadline = time.Second

// runLua runs a script over an object in a Lua opened as Argo CD opens it for scripts of its ConfigMap: base, package, table, and a
// preloaded "os" that knows the time and nothing else. There is no string and no math.
func runLua(object map[string]any, script string) (any, error) {
	l := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer l.Close()
	for name, open := range map[string]lua.LGFunction{
		lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable,
	} {
		if err := l.CallByParam(lua.P{Fn: l.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			return nil, fmt.Errorf("open the library %q: %w", name, err)
		}
	}
	l.PreloadModule(lua.OsLibName, safeOS)
	ctx, cancel := context.WithTimeout(context.Background(), luaDeadline)
	defer cancel()
	l.SetContext(ctx)
	l.SetGlobal("obj", toLua(l, object))
	if err := l.DoString(script); err != nil {
		return nil, fmt.Errorf("run the script: %w", err)
	}
	table, ok := l.Get(-1).(*lua.LTable)
	if !ok {
		return nil, fmt.Errorf("the script returns a %s, want a table", l.Get(-1).Type())
	}
	return fromLua(table)
}

// safeOS loads what Argo CD leaves of the os library.
func safeOS(l *lua.LState) int {
	lua.OpenOs(l)
	whole, ok := l.Get(-1).(*lua.LTable)
	if !ok {
		return 0
	}
	safe := l.NewTable()
	for _, name := range []string{"time", "date"} {
		safe.RawSetString(name, whole.RawGetString(name))
	}
	l.SetGlobal(lua.OsLibName, lua.LNil)
	l.Push(safe)
	return 1
}

func toLua(l *lua.LState, value any) lua.LValue {
	switch v := value.(type) {
	case bool:
		return lua.LBool(v)
	case string:
		return lua.LString(v)
	case int64:
		return lua.LNumber(v)
	case float64:
		return lua.LNumber(v)
	case []any:
		table := l.NewTable()
		for _, item := range v {
			table.Append(toLua(l, item))
		}
		return table
	case map[string]any:
		table := l.NewTable()
		for key, item := range v {
			table.RawSetString(key, toLua(l, item))
		}
		return table
	default:
		return lua.LNil
	}
}

// fromLua is what Argo CD makes of a result: a table with a first element, or with none at all, is a list.
func fromLua(value lua.LValue) (any, error) {
	switch v := value.(type) {
	case lua.LBool:
		return bool(v), nil
	case lua.LString:
		return string(v), nil
	case lua.LNumber:
		if whole := int64(v); lua.LNumber(whole) == v {
			return whole, nil
		}
		return float64(v), nil
	case *lua.LTable:
		if first, _ := v.Next(lua.LNil); first == lua.LNil || first.Type() == lua.LTNumber {
			return listFromLua(v)
		}
		return mapFromLua(v)
	default:
		return nil, fmt.Errorf("a %s cannot be written as JSON", value.Type())
	}
}

func listFromLua(table *lua.LTable) (any, error) {
	list := []any{}
	for i := 1; i <= table.Len(); i++ {
		item, err := fromLua(table.RawGetInt(i))
		if err != nil {
			return nil, err
		}
		list = append(list, item)
	}
	return list, nil
}

func mapFromLua(table *lua.LTable) (any, error) {
	object := map[string]any{}
	var failed error
	table.ForEach(func(key, value lua.LValue) {
		item, err := fromLua(value)
		failed = errors.Join(failed, err)
		object[lua.LVAsString(key)] = item
	})
	return object, failed
}

// restoreEmpty undoes what the journey through Lua did to empty maps, as Argo CD does before it makes a patch.
func restoreEmpty(after, before any) any {
	switch a := after.(type) {
	case map[string]any:
		b, _ := before.(map[string]any)
		for key := range a {
			if b[key] != nil {
				a[key] = restoreEmpty(a[key], b[key])
			}
		}
	case []any:
		if b, ok := before.(map[string]any); ok && len(a) == 0 {
			return b
		}
		b, _ := before.([]any)
		for i := range min(len(a), len(b)) {
			a[i] = restoreEmpty(a[i], b[i])
		}
	}
	return after
}
