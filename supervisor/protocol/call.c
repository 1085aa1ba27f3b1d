/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "supervisor/protocol/server_internal.h"

#include "base/log.h"
#include "base/macro.h"

#define SERVICE "org.varlink.service"

static const char service_text[] =
	"# The interface that every Varlink service has.\n"
	"interface org.varlink.service\n"
	"\n"
	"method GetInfo() -> (vendor: string, product: string, version: string, url: string,\n"
	"  interfaces: []string)\n"
	"method GetInterfaceDescription(interface: string) -> (description: string)\n"
	"\n"
	"error InterfaceNotFound (interface: string)\n"
	"error MethodNotFound (method: string)\n"
	"error MethodNotImplemented (method: string)\n"
	"error InvalidParameter (parameter: string)\n"
	"error PermissionDenied ()\n"
	"error ExpectedMore ()\n";

json_t *call_params(const struct server_call *c)
{
	return c->params;
}

bool call_more(const struct server_call *c)
{
	return c->more;
}

uid_t call_uid(const struct server_call *c)
{
	return c->uid;
}

gid_t call_gid(const struct server_call *c)
{
	return c->gid;
}

pid_t call_pid(const struct server_call *c)
{
	return c->pid;
}

int call_take_fd(struct server_call *c, size_t i)
{
	return i < c->nfds ? TAKE_FD(c->fds[i]) : -EBADF;
}

const char *call_string(const struct server_call *c, const char *name)
{
	return json_string_value(json_object_get(c->params, name));
}

bool call_bool(const struct server_call *c, const char *name)
{
	return json_is_true(json_object_get(c->params, name));
}

json_int_t call_int(const struct server_call *c, const char *name, json_int_t def)
{
	json_t *v = json_object_get(c->params, name);

	return json_is_integer(v) ? json_integer_value(v) : def;
}

static void call_free(struct server_call *c)
{
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	for (size_t i = 0; i < c->nfds; i++)
		fd_close(&c->fds[i]);
	json_decref(c->params);
	json_decref(c->message);
	free(c);
}

void call_set_data(struct server_call *c, void *data)
{
	c->data = data;
}

void *call_data(const struct server_call *c)
{
	return c->data;
}

void call_on_cancel(struct server_call *c, void (*fn)(struct server_call *c, void *userdata),
		    void *userdata)
{
	c->cancel = fn;
	c->cancel_data = userdata;
}

void call_cancel(struct server_call *c)
{
	void (*fn)(struct server_call *, void *) = c->cancel;

	c->cancel = NULL;
	if (fn)
		fn(c, c->cancel_data);
}

void call_forget_client(struct server_call *c)
{
	c->client = NULL;
	call_cancel(c);
}

/* Sends it and frees the call. */
static void call_finish(struct server_call *c, json_t *message, const int *fds, size_t nfds)
{
	struct client_conn *client = c->client;

	call_free(c);
	if (!client) {
		json_decref(message);
		return;
	}
	client->call = NULL;
	conn_enter(client);
	conn_send(client, message, fds, nfds);
	conn_answered(client);
	conn_leave(client);
}

/* Takes params over. */
static void call_error(struct server_call *c, const char *error, json_t *params)
{
	call_finish(c, json_pack("{s:s, s:o}", "error", error, "parameters", params), NULL, 0);
}

static void service_error(struct server_call *c, const char *name, const char *key, const char *value)
{
	char error[96];

	snprintf(error, sizeof(error), SERVICE ".%s", name);
	call_error(c, error, key ? json_pack("{s:s}", key, value) : json_object());
}

void server_fail(struct server_call *c, const struct err *e)
{
	char error[128];

	snprintf(error, sizeof(error), "%s.Failed", c->server ? c->server->idl->name : "");
	/* %-formats of the system's may hold what is not UTF-8: such bytes are not sent. */
	call_error(c, error,
		   json_pack("{s:i, s:o, s:o}", "status", e->code ? e->code : ERR_FAIL,
			     "error", json_string(e->msg) ?: json_string("?"),
			     "hint", json_string(e->hint) ?: json_string("")));
}

/* Replies are our own: one that does not fit is a bug that tests shall see. */
static bool reply_fits(struct server_call *c, json_t *params)
{
#ifndef NDEBUG
	char path[128];
	struct err e;

	if (c->member && idl_check(c->member->out, params, path, sizeof(path), &e) < 0) {
		log_error("reply of %s: %s", c->member->name, e.msg);
		return false;
	}
#else
	(void)c;
	(void)params;
#endif
	return true;
}

void server_reply(struct server_call *c, json_t *params, const int *fds, size_t nfds)
{
	if (!params)
		params = json_object();
	if (!reply_fits(c, params)) {
		struct err e;

		json_decref(params);
		err_set(&e, ERR_FAIL, "%s: vpsd made a reply that its interface does not allow",
			c->member->name);
		server_fail(c, &e);
		return;
	}
	call_finish(c, json_pack("{s:o}", "parameters", params), fds, nfds);
}

bool server_continue(struct server_call *c, json_t *params)
{
	if (!c->client || !reply_fits(c, params)) {
		json_decref(params);
		return c->client != NULL;
	}
	conn_send(c->client, json_pack("{s:o, s:b}", "parameters", params, "continues", 1), NULL, 0);
	return c->client != NULL;
}

static void service_call(struct server_call *c, const char *method)
{
	const char *name = call_string(c, "interface");

	if (STREQ(method, "GetInfo")) {
		server_reply(c, json_pack("{s:s, s:s, s:s, s:s, s:[s, s]}", "vendor", "vps",
					  "product", "vpsd", "version", VPS_VERSION, "url", "",
					  "interfaces", SERVICE, c->server->idl->name), NULL, 0);
	} else if (!STREQ(method, "GetInterfaceDescription")) {
		service_error(c, "MethodNotFound", "method", method);
	} else if (!name) {
		service_error(c, "InvalidParameter", "parameter", "interface");
	} else if (!STREQ(name, SERVICE) && !STREQ(name, c->server->idl->name)) {
		service_error(c, "InterfaceNotFound", "interface", name);
	} else {
		server_reply(c, json_pack("{s:s}", "description",
					  STREQ(name, SERVICE) ? service_text : c->server->text),
			     NULL, 0);
	}
}

static const struct server_method *method_find(const struct server *s, const char *name)
{
	for (size_t i = 0; i < s->method_count; i++)
		if (STREQ(s->methods[i].name, name))
			return &s->methods[i];
	return NULL;
}

static void interface_call(struct server_call *c, const char *method)
{
	const struct server_method *m = method_find(c->server, method);
	char path[128], full[192];
	struct err e;

	c->member = idl_method(c->server->idl, method);
	snprintf(full, sizeof(full), "%s.%s", c->server->idl->name, method);
	if (!c->member) {
		service_error(c, "MethodNotFound", "method", full);
	} else if (!m) {
		service_error(c, "MethodNotImplemented", "method", full);
	} else if (idl_check(c->member->type, c->params, path, sizeof(path), &e) < 0) {
		service_error(c, "InvalidParameter", "parameter", path);
	} else if ((m->flags & SERVER_MORE) && !c->more) {
		service_error(c, "ExpectedMore", NULL, NULL);
	} else if (c->nfds < m->fds) {
		err_set(&e, ERR_USAGE, "%s: %u file descriptors must come with the call, not %zu",
			method, m->fds, c->nfds);
		server_fail(c, &e);
	} else {
		m->call(c, c->server->userdata);
	}
}

/* As of connections: users cannot keep the administrator out, nor one the others. */
static bool has_room(const struct client_conn *client, size_t bytes)
{
	size_t same = 0, users = 0;

	for (const struct server_call *c = client->server->calls; c; c = c->next) {
		users += c->uid != 0;
		same += c->uid == client->uid;
		bytes += c->uid == client->uid ? c->bytes : 0;
	}
	if (client->uid == 0)
		return same < SERVER_ROOT_CALLS_MAX;
	return same < SERVER_UID_CALLS_MAX && users < SERVER_CALLS_MAX && bytes <= SERVER_UID_CALLS_BYTES;
}

static struct server_call *call_new(struct client_conn *client, json_t *message, size_t bytes)
{
	struct server *s = client->server;
	struct server_call *c = calloc(1, sizeof(*c));
	json_t *params = json_object_get(message, "parameters");

	if (!c)
		return NULL;
	*c = (struct server_call){
		.server = s,
		.message = message,
		.bytes = bytes,
		.params = params && !json_is_null(params) ? json_incref(params) : json_object(),
		.more = json_is_true(json_object_get(message, "more")),
		.oneway = json_is_true(json_object_get(message, "oneway")),
		.pid = client->pid, .uid = client->uid, .gid = client->gid,
		.next = s->calls, .link = &s->calls,
	};
	if (c->next)
		c->next->link = &c->next;
	s->calls = c;
	if (!c->oneway) {
		c->client = client;
		client->call = c;
	}
	return c;
}

/* A message is an object with `method` and what may stand beside it. */
static json_t *message_parse(const struct frame *f)
{
	static const char *const known[] = { "method", "parameters", "more", "oneway", "upgrade" };
	json_t *m = json_loadb(f->text, f->len, JSON_REJECT_DUPLICATES, NULL);
	json_t *value, *params = json_object_get(m, "parameters");
	const char *key;
	bool good = json_is_string(json_object_get(m, "method")) &&
		    (!params || json_is_object(params) || json_is_null(params));

	json_object_foreach(m, key, value) {
		size_t i = 0;

		while (i < ARRAY_SIZE(known) && !STREQ(key, known[i]))
			i++;
		good = good && i < ARRAY_SIZE(known) && (i < 2 || json_is_boolean(value));
	}
	if (good && !json_is_true(json_object_get(m, "upgrade")))
		return m;
	json_decref(m);
	return NULL;
}

bool call_dispatch(struct client_conn *client, struct frame *f)
{
	json_t *message = message_parse(f);
	struct server_call *c = NULL;
	char interface[128];
	const char *method, *dot;

	if (message && has_room(client, f->len))
		c = call_new(client, message, f->len);
	else if (message)
		log_warn("uid %u has too many calls without an answer: a connection closed", client->uid);
	if (!c) {
		json_decref(message);
		for (size_t i = 0; i < f->nfds; i++)
			close(f->fds[i]);
		return false;
	}
	c->nfds = f->nfds;
	memcpy(c->fds, f->fds, sizeof(*f->fds) * f->nfds);
	method = json_string_value(json_object_get(message, "method"));
	dot = strrchr(method, '.');
	snprintf(interface, sizeof(interface), "%.*s", dot ? (int)(dot - method) : 0, method);
	if (!dot)
		service_error(c, "MethodNotFound", "method", method);
	else if (STREQ(interface, SERVICE))
		service_call(c, dot + 1);
	else if (STREQ(interface, c->server->idl->name))
		interface_call(c, dot + 1);
	else
		service_error(c, "InterfaceNotFound", "interface", interface);
	return true;
}
