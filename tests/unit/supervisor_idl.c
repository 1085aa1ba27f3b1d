/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/protocol/idl.h"
#include "supervisor/protocol/interface.h"

#include "tests/unit/tap.h"

static struct idl *parsed(const char *text)
{
	struct idl *i = NULL;
	struct err e;

	if (!ok(idl_parse(text, strlen(text), &i, &e) == 0, "%.40s… is an interface", text))
		diag("%s", e.msg);
	return i;
}

static void refused(const char *text, const char *why)
{
	struct idl *i = NULL;
	struct err e = { 0 };

	ok(idl_parse(text, strlen(text), &i, &e) < 0, "refused: %.60s", text);
	eq_str(e.msg, why, "and why");
	eq_int(e.code, ERR_USAGE, "as a usage error");
	idl_free(i);
}

static void checked(const struct idl_type *t, const char *json, const char *path, const char *msg)
{
	json_error_t je;
	json_t *v = json_loads(json, 0, &je);
	struct err e = { 0 };
	char at[64];
	int r = idl_check(t, v, at, sizeof(at), &e);

	ok(v != NULL, "%s is JSON", json);
	eq_int(r < 0, msg != NULL, "%s %s", json, msg ? "is refused" : "is taken");
	if (msg) {
		eq_str(at, path, "at %s", path);
		eq_str(e.msg, msg, "with the reason");
	}
	json_decref(v);
}

TEST(interface)
{
	struct err e;
	const struct idl *i = protocol_idl(&e);

	if (!ok(i != NULL, "the interface parses")) {
		diag("%s", e.msg);
		return;
	}
	eq_str(i->name, PROTOCOL_INTERFACE, "its name");
	ok(idl_method(i, "Start") != NULL, "Start is a method");
	ok(idl_method(i, "Failed") == NULL, "Failed is not");
	ok(idl_error(i, "Failed") != NULL, "but an error");
	ok(idl_type(i, "Vps") != NULL, "Vps is a type");
	checked(idl_method(i, "Start")->type, "{\"name\":\"web1\",\"wait\":null}", "", NULL);
	checked(idl_method(i, "Start")->type, "{\"wait\":true}", "name", "name: missing");
	checked(idl_method(i, "List")->out, "{\"vps\":[]}", "", NULL);
}

TEST(grammar)
{
	struct idl *i = parsed("# about it\ninterface a.b-c.d2 # tail\n\n"
			       "type E (one, two_2)\ntype S ( a : ?[]E, b:[string](x: int) , c: object )\n"
			       "method M\n(s: S)\n -> ()\nerror X (why: (a, b))\nmethod N() -> (f: float)");

	if (!i)
		return;
	eq_str(i->name, "a.b-c.d2", "the name");
	eq_int(i->count, 5, "five members");
	eq_int(idl_type(i, "E")->type->kind, IDL_ENUM, "an enum");
	eq_int(idl_type(i, "S")->type->count, 3, "a struct of three");
	eq_int(idl_method(i, "N")->out->count, 1, "one output");
	idl_free(i);
}

TEST(refusals)
{
	char deep[256] = "interface a.b\ntype A (a: ";

	refused("", "line 1: interface is missing");
	refused("interface", "line 1: an interface name with a dot is missing");
	refused("interfaces a.b", "line 1: interface is missing");
	refused("interface ab\n", "line 1: an interface name with a dot is missing");
	refused("interface a..b\n", "line 1: an interface name with a dot is missing");
	refused("interface a.b type A ()", "line 1: a line end is missing");
	refused("interface a.b\ntypeA ()", "line 2: type, method or error is missing");
	refused("interface a.b\ntype a ()", "line 2: a member name is missing");
	refused("interface a.b\ntype A_b ()", "line 2: a member name is missing");
	refused("interface a.b\ntype A", "line 2: an opening parenthesis is missing");
	refused("interface a.b\ntype A (a: int", "line 2: a comma or a closing parenthesis is missing");
	refused("interface a.b\ntype A (a: int,)", "line 2: a field name is missing");
	refused("interface a.b\ntype A (a__b: int)", "line 2: a field name is missing");
	refused("interface a.b\ntype A (a: integer)", "line 2: a type is missing");
	refused("interface a.b\ntype A (a: ??int)", "line 2: ?? is not a type");
	refused("interface a.b\ntype A (a: int, b)",
		"line 2: b: a struct's fields have types, an enum's have none");
	refused("interface a.b\ntype A (a: int, a: int)", "line 2: a stands twice");
	refused("interface a.b\ntype A ()\nerror A ()", "line 3: A stands twice");
	refused("interface a.b\ntype A (a: B)", "type B is not defined");
	refused("interface a.b\nmethod M(a, b) -> ()", "line 2: parameters have types");
	refused("interface a.b\nmethod M() ()", "line 2: -> is missing");
	for (int i = 0; i < 40; i++)
		strcat(deep, "[]");
	strcat(deep, "int)");
	refused(deep, "line 2: types are nested too deep");
}

TEST(values)
{
	struct idl *i = parsed("interface a.b\ntype K (key: string, n: ?int)\n"
			       "type T (b: ?bool, f: ?float, o: ?object, e: ?(red, green), k: ?[]K,\n"
			       " m: ?[string]int, r: ?T)\n");
	const struct idl_type *t;
	char deep[1024] = "";

	if (!i)
		return;
	t = idl_type(i, "T")->type;
	checked(t, "{}", "", NULL);
	checked(t, "{\"b\":true,\"f\":1,\"o\":[1,{}],\"e\":\"red\",\"m\":{\"a\":1}}", "", NULL);
	checked(t, "[]", "", "not an object");
	checked(t, "{\"b\":1}", "b", "b: not true or false");
	checked(t, "{\"f\":\"1\"}", "f", "f: not a number");
	checked(t, "{\"e\":\"blue\"}", "e", "e: not red or green");
	checked(t, "{\"m\":{\"a\":1.5}}", "m[a]", "m[a]: not a whole number");
	checked(t, "{\"m\":[]}", "m", "m: not an object");
	checked(t, "{\"k\":{}}", "k", "k: not an array");
	checked(t, "{\"k\":[{\"key\":\"a\"},{\"key\":2}]}", "k[1].key", "k[1].key: not a string");
	checked(t, "{\"k\":[{\"n\":2}]}", "k[0].key", "k[0].key: missing");
	checked(t, "{\"k\":[{\"key\":\"\",\"x\":2}]}", "k[0].x", "k[0].x: no such parameter");
	checked(t, "{\"x\":null}", "x", "x: no such parameter");
	for (int n = 0; n < 60; n++)
		strcat(deep, "{\"r\":");
	strcat(deep, "{}");
	for (int n = 0; n < 60; n++)
		strcat(deep, "}");
	{
		json_t *v = json_loads(deep, 0, NULL);
		struct err e = { 0 };
		char at[32];

		ok(idl_check(t, v, at, sizeof(at), &e) < 0, "a deep value is refused");
		ok(strlen(at) < sizeof(at) && strstr(e.msg, "nested too deep"), "and why: %s", e.msg);
		json_decref(v);
	}
	idl_free(i);
}
