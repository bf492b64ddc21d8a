package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"fairlead.dev/fairlead/api/arm"
)

const group = "/subscriptions/S/resourceGroups/G"

func scope() Scope {
	return Scope{
		ID:           arm.MustParseID(group + "/providers/Microsoft.Resources/deployments/d"),
		Subscription: map[string]any{"subscriptionId": "S", "tenantId": "T", "id": "/subscriptions/S"},
		Group:        map[string]any{"id": group, "name": "G", "location": "local"},
		Environment:  map[string]any{"name": "Fairlead"},
		Now:          time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		NewGUID:      func() string { return "11111111-1111-1111-1111-111111111111" },
	}
}

// load reads a template whose parts are given as JSON.
func load(t testing.TB, parts, parameters string) (*Deployment, error) {
	t.Helper()
	return Load(scope(), json.RawMessage(`{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#","contentVersion":"1.0.0.0",`+parts+`}`), json.RawMessage(parameters))
}

// world is a Runtime of resources that are there.
type world map[string]map[string]any

func (w world) Reference(id arm.ID) (map[string]any, error) {
	if r, ok := w[id.Name()]; ok {
		return r, nil
	}
	return nil, arm.Errorf(404, "ResourceNotFound", "no %s", id)
}

func (w world) List(id arm.ID, action string, body any) (any, error) {
	return map[string]any{"keys": []any{id.Name() + " " + action}, "body": body}, nil
}

func TestExpressions(t *testing.T) {
	for expression, want := range map[string]any{
		`plain`:                             "plain",
		`[[not one]`:                        "[not one]",
		`[concat('a', 1, 'it''s', true())]`: "a1it'sTrue",
		`[concat(createArray(1), createArray('x', null()))]`: []any{1.0, "x", nil},
		`[parameters('P')]`:                                               "given",
		`[variables('list')[1].deep]`:                                     "second",
		`[variables('LIST')[0]['deep']]`:                                  "first",
		`[if(equals(parameters('p'), 'given'), 'yes', fail())]`:           "yes",
		`[and(false(), equals(1, div(1, 0)))]`:                            false,
		`[or(not(empty('')), greaterOrEquals(2, 2))]`:                     true,
		`[coalesce(null(), 'b')]`:                                         "b",
		`[resourceId('Microsoft.X/a/b', 'n', 'm')]`:                       group + "/providers/Microsoft.X/a/n/b/m",
		`[resourceId('H', 'Microsoft.X/a', 'n')]`:                         "/subscriptions/S/resourceGroups/H/providers/Microsoft.X/a/n",
		`[resourceId('Q', 'H', 'Microsoft.X/a', 'n')]`:                    "/subscriptions/Q/resourceGroups/H/providers/Microsoft.X/a/n",
		`[subscriptionResourceId('Microsoft.A/r', 'n')]`:                  "/subscriptions/S/providers/Microsoft.A/r/n",
		`[extensionResourceId('/subscriptions/S', 'Microsoft.A/r', 'n')]`: "/subscriptions/S/providers/Microsoft.A/r/n",
		`[subscription().tenantId]`:                                       "T",
		`[resourceGroup().location]`:                                      "local",
		`[deployment().name]`:                                             "d",
		`[length(uniqueString(resourceGroup().id))]`:                      13.0,
		`[equals(guid('a','b'), guid('a','b'))]`:                          true,
		`[toUpper(substring('abcd', 1, 2))]`:                              "BC",
		`[split('a,b;c', createArray(',',';'))]`:                          []any{"a", "b", "c"},
		`[join(split('a-b','-'),'+')]`:                                    "a+b",
		`[format('{0}-{1:D3}', 'x', 7)]`:                                  "x-007",
		`[padLeft(7, 3, '0')]`:                                            "007",
		`[union(createObject('a',1,'b',createObject('c',2)), createObject('b',createObject('d',3)))]`: map[string]any{"a": 1.0, "b": map[string]any{"c": 2.0, "d": 3.0}},
		`[union(createArray(1,2), createArray(2,3))]`:                                                 []any{1.0, 2.0, 3.0},
		`[intersection(createArray(1,2), createArray(2,3))]`:                                          []any{2.0},
		`[contains(createArray('a'), 'a')]`:                                                           true,
		`[last(range(1, 3))]`:                                                                         3.0,
		`[take(skip('abcdef', 2), 2)]`:                                                                "cd",
		`[json('{"a":[1]}').a[0]]`:                                                                    1.0,
		`[json('null')]`:                                                                              nil,
		`[add(mul(2, 3), -1)]`:                                                                        5.0,
		`[max(createArray(1, 9, 3))]`:                                                                 9.0,
		`[uriComponent('a b/c')]`:                                                                     "a%20b%2Fc",
		`[base64ToString(base64('x'))]`:                                                               "x",
		`[items(createObject('k','v'))]`:                                                              []any{map[string]any{"key": "k", "value": "v"}},
		`[ concat( 'a' ,'b' ) ]`:                                                                      "ab",
		`[reference('there').port]`:                                                                   80.0,
		`[reference(resourceId('Microsoft.X/a','there'), '2020-01-01', 'Full').location]`: "local",
		`[listKeys(resourceId('Microsoft.X/a','there'), '2020-01-01').keys[0]]`:           "there listKeys",
	} {
		t.Run(expression, func(t *testing.T) {
			d, err := load(t, `"parameters":{"p":{"type":"string"}},"variables":{"list":[{"deep":"first"},{"deep":"second"}]},
				"resources":[{"type":"Microsoft.X/a","name":"there","properties":{"v":`+quote(expression)+`}}]`, `{"p":{"value":"given"}}`)
			if err != nil {
				t.Fatal(err)
			}
			r := d.Resources[0]
			got, err := d.Body(r, world{"there": {"location": "local", "properties": map[string]any{"port": 80.0}}})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, again(t, got["properties"].(map[string]any)["v"])); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func quote(s string) string {
	raw, _ := json.Marshal(s)
	return string(raw)
}

// again writes and reads a value, as the wire does.
func again(t *testing.T, v any) any {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// describe is a plan in lines: what is made, behind what, with which body.
func describe(t *testing.T, d *Deployment, w world) string {
	t.Helper()
	var b strings.Builder
	for _, r := range d.Resources {
		body, err := d.Body(r, w)
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := json.Marshal(body)
		after := ""
		for _, a := range r.After {
			after += " after " + a[strings.LastIndex(a, "/")+1:]
		}
		fmt.Fprintf(&b, "%s%s %s\n", strings.TrimPrefix(r.ID.String(), group+"/providers/"), after, raw)
	}
	return b.String()
}

func TestResources(t *testing.T) {
	for name, c := range map[string]struct{ template, parameters, want string }{
		"order, conditions and what waits for what": {
			`"parameters":{"make":{"type":"bool","defaultValue":false}},"resources":[
			{"type":"N.X/a","name":"third","apiVersion":"1","dependsOn":["[resourceId('N.X/a','second')]","unmade"],"location":"l","tags":{"k":"[toLower('V')]"}},
			{"type":"N.X/a","name":"second","properties":{"of":"[reference('first').v]"}},
			{"type":"N.X/a","name":"first"},
			{"type":"N.X/a","name":"unmade","condition":"[parameters('make')]","properties":{"x":"[reference('nothing').y]"}}]`, ``,
			"N.X/a/first {}\nN.X/a/second after first {\"properties\":{\"of\":1}}\nN.X/a/third after second {\"location\":\"l\",\"tags\":{\"k\":\"v\"}}\n"},
		"copies of resources, properties and variables": {
			`"variables":{"copy":[{"name":"sizes","count":2,"input":"[mul(copyIndex('sizes'), 10)]"}]},"resources":[
			{"type":"N.X/a","name":"[concat('n', copyIndex(1))]","copy":{"name":"loop","count":2,"mode":"Serial"},"properties":{"size":"[variables('sizes')[copyIndex()]]",
			 "copy":[{"name":"disks","count":2,"input":{"lun":"[copyIndex('disks')]","of":"[copyIndex('loop')]"}}]}},
			{"type":"N.X/b","name":"all","dependsOn":["loop"]}]`, ``,
			`N.X/a/n1 {"properties":{"disks":[{"lun":0,"of":0},{"lun":1,"of":0}],"size":0}}
N.X/a/n2 after n1 {"properties":{"disks":[{"lun":0,"of":1},{"lun":1,"of":1}],"size":10}}
N.X/b/all after n1 after n2 {}
`},
		"resources in resources, of others and on others": {
			`"resources":[{"type":"N.X/a","name":"p","resources":[{"type":"c","name":"q","dependsOn":["p"]}]},
			{"type":"N.X/a/c","name":"p/r"},{"type":"N.Y/z","name":"e","scope":"[resourceId('N.X/a','p')]"},{"type":"N.X/a","name":"far","resourceGroup":"H"}]`, ``,
			"N.X/a/p {}\nN.X/a/p/c/q after p {}\nN.X/a/p/c/r {}\nN.X/a/p/providers/N.Y/z/e {}\n/subscriptions/S/resourceGroups/H/providers/N.X/a/far {}\n"},
		"a nested deployment of the outer scope is evaluated at once": {
			`"variables":{"v":"[[x]"},"resources":[{"type":"Microsoft.Resources/deployments","name":"n","properties":{"mode":"Incremental","template":{"resources":["[variables('v')]","y"]}}}]`, ``,
			`Microsoft.Resources/deployments/n {"properties":{"mode":"Incremental","template":{"resources":["[[x]","y"]}}}` + "\n"},
		"one of the inner scope is not": {
			`"resources":[{"type":"Microsoft.Resources/deployments","name":"n","properties":{"expressionEvaluationOptions":{"scope":"Inner"},"parameters":{"a":{"value":"[add(1,1)]"}},"template":{"resources":["[variables('v')]"]}}}]`, ``,
			`Microsoft.Resources/deployments/n {"properties":{"expressionEvaluationOptions":{"scope":"Inner"},"parameters":{"a":{"value":2}},"template":{"resources":["[variables('v')]"]}}}` + "\n"},
		"defaults of parameters use others, and null is not given": {
			`"parameters":{"a":{"type":"string","defaultValue":"[concat(parameters('b'),'!')]"},"b":{"type":"string","defaultValue":"B"},"g":{"type":"string","defaultValue":"[newGuid()]"},"u":{"type":"string","defaultValue":"[utcNow('yyyy-MM-dd')]"}},
			"resources":[{"type":"N.X/a","name":"x","properties":["[parameters('a')]","[parameters('g')]","[parameters('u')]"]}]`, `{"b":{"value":null}}`,
			`N.X/a/x {"properties":["B!","11111111-1111-1111-1111-111111111111","2026-01-02"]}` + "\n"},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := load(t, c.template, c.parameters)
			if err != nil {
				t.Fatal(err)
			}
			got := describe(t, d, world{"first": {"properties": map[string]any{"v": 1.0}}})
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestMistakesAreNamed(t *testing.T) {
	resource := func(v string) string {
		return `"parameters":{"p":{"type":"int","defaultValue":1,"maxValue":5,"allowedValues":[1,2,9]},"s":{"type":"securestring","defaultValue":""}},"variables":{"v":1},
			"resources":[{"type":"N.X/a","name":"x","properties":{"v":` + quote(v) + `}}]`
	}
	for name, c := range map[string]struct{ template, parameters, want string }{
		"unknown function":        {resource("[conct('a')]"), ``, "resources[0].properties.v: there is no function 'conct'; did you mean 'concat'?"},
		"unknown parameter":       {resource("[parameters('q')]"), ``, "there is no parameter 'q'"},
		"unknown variable":        {resource("[variables('w')]"), ``, "there is no variable 'w'"},
		"arguments":               {resource("[toLower(1)]"), ``, "argument 1 must be of type string, not int"},
		"number of arguments":     {resource("[toLower()]"), ``, "toLower takes 1 arguments, not 0"},
		"end":                     {resource("[concat('a']"), ``, "at character 11 of the expression: ',' or ')' is missing in the arguments of concat"},
		"text without end":        {resource("[concat('a)]"), ``, "a single quote is missing"},
		"more behind":             {resource("[add(1,1) x]"), ``, `"x" does not belong there`},
		"property":                {resource("[resourceGroup().nme]"), ``, "there is no property 'nme'; there are: id, location, name"},
		"index":                   {resource("[createArray(1)[1]]"), ``, "the array has 1 elements; there is none at 1"},
		"copyIndex":               {resource("[copyIndex()]"), ``, "outside of a copy loop"},
		"newGuid":                 {resource("[newGuid()]"), ``, "in defaults of parameters only"},
		"extra parameter":         {resource("x"), `{"pp":{"value":1}}`, "there is no parameter in this template called 'pp'; did you mean 'p'?"},
		"parameter without value": {resource("x"), `{"p":1}`, "parameters.p must be an object with a value"},
		"parameter's type":        {resource("x"), `{"p":{"value":"x"}}`, "parameters.p must be of type int, but its value is of type string"},
		"secret in no error":      {resource("x"), `{"s":{"value":["hush"]}}`, "parameters.s must be of type securestring, but its value is of type array"},
		"allowed":                 {resource("x"), `{"p":{"value":3}}`, "parameters.p is 3; allowed are: [1,2,9]"},
		"bound":                   {resource("x"), `{"p":{"value":9}}`, "parameters.p is above maxValue, which is 5"},
		"missing parameter":       {`"parameters":{"p":{"type":"int"}}`, ``, "parameters.p is missing"},
		"parameters in a circle":  {`"parameters":{"a":{"type":"string","defaultValue":"[parameters('b')]"},"b":{"type":"string","defaultValue":"[parameters('a')]"}}`, ``, "there is no parameter"},
		"variables in a circle":   {`"variables":{"a":"[variables('b')]","b":"[variables('a')]"}`, ``, "variable 'a' is defined by itself"},
		"variable of resources":   {`"variables":{"a":"[reference('x').y]"}`, ``, "variables.a must not use reference"},
		"dependency":              {`"resources":[{"type":"N.X/a","name":"x","dependsOn":["y"]}]`, ``, "'x' depends on 'y', which is not in the template"},
		"circle":                  {`"resources":[{"type":"N.X/a","name":"x","dependsOn":["y"]},{"type":"N.X/a","name":"y","properties":"[reference('x')]"}]`, ``, "wait for each other in a circle"},
		"itself":                  {`"resources":[{"type":"N.X/a","name":"x","dependsOn":["x"]}]`, ``, "wait for each other in a circle"},
		"twice":                   {`"resources":[{"type":"N.X/a","name":"x"},{"type":"N.X/A","name":"X"}]`, ``, "twice"},
		"names":                   {`"resources":[{"type":"N.X/a/b","name":"x"}]`, ``, "the type 'N.X/a/b' needs 2 names, but there are 1: 'x'"},
		"no name":                 {`"resources":[{"type":"N.X/a"}]`, ``, "resources[0] needs a type and a name"},
		"condition":               {`"resources":[{"type":"N.X/a","name":"x","condition":"[reference('y').z]"}]`, ``, "resources[0].condition must not use reference"},
		"copies":                  {`"resources":[{"type":"N.X/a","name":"x","copy":{"name":"c","count":801}}]`, ``, "resources[0].copy.count is 801; it must be an int from 0 to 800"},
		"symbolic names":          {`"resources":{"x":{"type":"N.X/a","name":"x"}}`, ``, "symbolic names"},
		"own functions":           {`"functions":[{}]`, ``, "functions of one's own are not supported"},
		"output's type":           {`"outputs":{"o":{"type":"int","value":"x"}}`, ``, "outputs.o must be of type int"},
		"growth":                  {`"variables":{` + doubling(40) + `}`, ``, "more than 16 MiB"},
		"growth by replacing":     {`"variables":{"a":"[padLeft('',65536,'a')]","b":"[concat(variables('a'),variables('a'),variables('a'),variables('a'))]","c":"[replace(variables('b'),'a',variables('b'))]"}`, ``, "more than 16 MiB"},
		"growth by joining":       {`"variables":{"a":"[padLeft('',65536,'a')]","b":"[concat(variables('a'),variables('a'),variables('a'),variables('a'))]","c":"[join(range(0,10000),variables('b'))]"}`, ``, "more than 16 MiB"},
		"growth by formats":       {`"variables":{"a":"[padLeft('',65536,'a')]","b":"[concat(variables('a'),variables('a'),variables('a'),variables('a'))]","c":"[format(replace(variables('a'),'a','{0}'),variables('b'))]"}`, ``, "more than 16 MiB"},
		"growth by splitting":     {`"variables":{"a":"[padLeft('',65536,'a')]","b":"[concat(variables('a'),variables('a'),variables('a'),variables('a'))]","c":"[split(concat(variables('b'),variables('b'),variables('b'),variables('b'),variables('b'),variables('b'),variables('b'),variables('b'),variables('b')),'a')]"}`, ``, "more than 16 MiB"},
		"effort":                  {`"variables":{"a":"[concat(` + strings.Repeat("range(0,10000),", 40) + `createArray())]","b":"[and(` + strings.Repeat("equals(variables('a'),variables('a')),", 100) + `true())]"}`, ``, "looking at more than 256 MiB"},
		"copies of copies":        {`"resources":[{"type":"N.X/a","name":"x","properties":{"copy":[{"name":"c","count":800,"input":{"copy":[{"name":"c","count":800,"input":{"copy":[{"name":"c","count":20,"input":1}]}}]}}]}}]`, ``, "looking at more than 256 MiB"},
		"literals in copies":      {`"resources":[{"type":"N.X/a","name":"[concat('x',copyIndex())]","copy":{"name":"l","count":800},"properties":{"a":[1` + strings.Repeat(",1", 5000) + `]}}]`, ``, "looking at more than 256 MiB"},
		"effort in elements":      {`"parameters":{"p":{"type":"array"}},"variables":{"b":"[and(` + strings.Repeat("empty(intersection(parameters('p'),createArray(2))),", 60) + `true())]"}`, `{"p":{"value":[` + strings.Repeat("[],", 50000) + `[]]}}`, "looking at more than 256 MiB"},
		"many delimiters":         {`"variables":{"s":"[padLeft('',65536,'a')]","c":"[split(variables('s'),variables('d'))]","d":["b"` + strings.Repeat(`,"b"`, 5000) + `]}`, ``, "looking at more than 256 MiB"},
		"delimiter that is none":  {`"outputs":{"o":{"type":"array","value":"[split('a',base64ToString('/w=='))]"}}`, ``, "the delimiters can't be looked for"},
		"growth in arrays":        {`"variables":{` + strings.ReplaceAll(doubling(40), "concat", "createArray") + `}`, ``, "more than 16 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, c.template, c.parameters)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hush") {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// doubling is variables each of which is twice the one before.
func doubling(n int) string {
	out := []string{`"v0":"0123456789"`}
	for i := 1; i <= n; i++ {
		out = append(out, fmt.Sprintf(`"v%d":"[concat(variables('v%d'),variables('v%d'))]"`, i, i-1, i-1))
	}
	return strings.Join(out, ",")
}

func TestOutputs(t *testing.T) {
	d, err := load(t, `"resources":[{"type":"N.X/a","name":"there"}],"outputs":{"port":{"type":"int","value":"[reference('there').port]"},"secret":{"type":"securestring","value":"x"},"not":{"type":"string","condition":false,"value":"[fail()]"}}`, ``)
	if err != nil {
		t.Fatal(err)
	}
	got, err := d.Outputs(world{"there": {"properties": map[string]any{"port": 80.0}}})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"port": map[string]any{"type": "Int", "value": int64(80)}, "secret": map[string]any{"type": "SecureString"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, err := d.Outputs(world{}); err == nil {
		t.Error("a resource that is not there gave an output")
	} else if ae, ok := errors.AsType[*arm.Error](err); !ok || ae.Status != 404 {
		t.Errorf("%v has lost the error of the Runtime", err)
	}
}

func TestParametersThatMayBeRead(t *testing.T) {
	d, err := load(t, `"parameters":{"open":{"type":"string"},"hidden":{"type":"secureString"},"id":{"type":"string","defaultValue":"[newGuid()]"}}`, `{"open":{"value":"o"},"hidden":{"value":"hush"}}`)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := json.Marshal(d.Shown())
	if want := `{"hidden":{"type":"SecureString"},"id":{"type":"String","value":"11111111-1111-1111-1111-111111111111"},"open":{"type":"String","value":"o"}}`; string(raw) != want {
		t.Errorf("got  %s\nwant %s", raw, want)
	}
	raw, _ = json.Marshal(d.Parameters())
	if !strings.Contains(string(raw), "hush") || !strings.Contains(string(raw), "11111111") {
		t.Errorf("%s does not load the same deployment again", raw)
	}
}

// FuzzExpression: whatever is written between brackets gives a value or an error, soon.
func FuzzExpression(f *testing.F) {
	for _, s := range []string{"concat('a', variables('b')[0].c)", "if(equals(1,2),'x',reference('y','1','Full').z)", "format('{0:D4}{{', 5)", "'", "((((", "a.b", "a().b[", "-", "''''", "range(0,9999999)", "substring('x',9223372036854775807,1)", "padLeft('x',70000)", "split('a','')", "add(9223372036854775807,1)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		_, err := load(t, `"variables":{"b":[{"c":"d"}]},"outputs":{"o":{"type":"string","value":`+quote("["+s+"]")+`}}`, ``)
		if err != nil && strings.Contains(err.Error(), "bug") {
			t.Error(err)
		}
	})
}

// TestPlainIsACopy: what a nested deployment is given may be a value that others use as well.
func TestPlainIsACopy(t *testing.T) {
	in := map[string]any{"a": []any{"[x]", map[string]any{"b": "[y]"}}}
	if diff := cmp.Diff(map[string]any{"a": []any{"[[x]", map[string]any{"b": "[[y]"}}}, plain(in)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"a": []any{"[x]", map[string]any{"b": "[y]"}}}, in); diff != "" {
		t.Errorf("it was changed in place (-want +got):\n%s", diff)
	}
}
