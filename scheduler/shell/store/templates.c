#include "scheduler/shell/store/internal.h"

#include <stdio.h>
#include <string.h>

bool store_tags_next(const char **at, char out_tag[TEMPLATE_NAME_MAX])
{
	while (**at) {
		size_t n = strcspn(*at, ",");
		const char *tag = *at;

		*at += n + ((*at)[n] == ',');
		if (n == 0 || n >= TEMPLATE_NAME_MAX)
			continue;
		memcpy(out_tag, tag, n);
		out_tag[n] = 0;
		return true;
	}
	return false;
}

const char *store_build_status_name(int64_t status)
{
	switch ((enum store_build_status)status) {
	case STORE_BUILD_WAITING:
		return "waiting";
	case STORE_BUILD_BUILDING:
		return "building";
	case STORE_BUILD_READY:
		return "ready";
	case STORE_BUILD_ERROR:
		break;
	}
	return "error";
}

#define TEXT(column, out) snprintf(out, sizeof(out), "%s", sqlite_text(reader, at, column))

void store_build_columns(struct sqlite *reader, enum store_read at, struct store_build *out)
{
	*out = (struct store_build){
		.life = sqlite_int(reader, at, 2),
		.kind = sqlite_int(reader, at, 3),
		.status = sqlite_int(reader, at, 4),
		.vcpus = sqlite_int(reader, at, 5),
		.mem_mib = sqlite_int(reader, at, 6),
		.disk_mib = sqlite_int(reader, at, 7),
		.created_at = sqlite_int(reader, at, 11),
		.finished_at = sqlite_int(reader, at, 12),
	};
	TEXT(0, out->id);
	TEXT(1, out->template_.text);
	TEXT(8, out->tags);
	TEXT(9, out->reason);
	TEXT(10, out->step);
}

void store_build_row(struct store *store, enum store_read at, struct store_build *out)
{
	store_build_columns(store_reader(store), at, out);
	out->gone = sqlite_int(store_reader(store), at, 13) != 0;
}

void store_own_template_row(struct store *store, enum store_read at, struct store_own_template *out)
{
	struct sqlite *reader = store_reader(store);

	*out = (struct store_own_template){
		.is_public = sqlite_int(reader, at, 3) != 0,
		.life = sqlite_int(reader, at, 4),
		.created_at = sqlite_int(reader, at, 5),
		.updated_at = sqlite_int(reader, at, 6),
		.deleted = sqlite_int(reader, at, 7) != 0,
	};
	TEXT(0, out->id.text);
	TEXT(1, out->tenant.text);
	TEXT(2, out->name);
}

static int find_own(struct store *store, enum store_read at, struct sqlite_values values,
		    struct store_own_template *out, struct err *err)
{
	struct sqlite *reader = store_reader(store);
	int got;

	if (sqlite_bind(reader, at, values, err))
		return -1;
	got = sqlite_next(reader, at, err);
	if (got == 1) {
		store_own_template_row(store, at, out);
		sqlite_reset(reader, at);
	}
	return got;
}

static int find_build(struct store *store, enum store_read at, struct sqlite_values values,
		      struct store_build *out, struct err *err)
{
	struct sqlite *reader = store_reader(store);
	int got;

	if (sqlite_bind(reader, at, values, err))
		return -1;
	got = sqlite_next(reader, at, err);
	if (got == 1) {
		store_build_row(store, at, out);
		sqlite_reset(reader, at);
	}
	return got;
}

int store_own_template_find(struct store *store, const char *id, struct store_own_template *out,
			    struct err *err)
{
	return find_own(store, STORE_READ_OWN_TEMPLATE, SQL(SQL_TEXT(id)), out, err);
}

int store_own_template_by_name(struct store *store, const struct id *tenant, const char *name,
			       struct store_own_template *out, struct err *err)
{
	return find_own(store, STORE_READ_OWN_TEMPLATE_BY_NAME,
			SQL(SQL_TEXT(tenant->text), SQL_TEXT(name)), out, err);
}

int store_build_find(struct store *store, const char *id, struct store_build *out, struct err *err)
{
	return find_build(store, STORE_READ_BUILD, SQL(SQL_TEXT(id)), out, err);
}

int store_build_of_tag(struct store *store, const struct id *template_, const char *tag,
		       struct store_build *out, struct err *err)
{
	return find_build(store, STORE_READ_BUILD_OF_TAG,
			  SQL(SQL_TEXT(template_->text), SQL_TEXT(tag)), out, err);
}

int store_build_newest(struct store *store, const struct id *template_, struct store_build *out,
		       struct err *err)
{
	return find_build(store, STORE_READ_BUILDS_NEWEST,
			  SQL(SQL_TEXT(template_->text), SQL_INT(1)), out, err);
}
