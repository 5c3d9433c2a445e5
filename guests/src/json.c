/* json: transforms JSON documents: picks out records, filters them, renames their fields, adds them up.
 *
 * The body is a JSON document; the query says what is wanted of it:
 *
 *   from=PATH          where the records are: an array, or one object. Default: the document itself
 *   where=PATH:VALUE   only records in which the value at PATH is VALUE (compared as text; numbers as JSON writes them)
 *   select=PATH[:NAME],...  these fields of each record, under these names (default: the PATH's last part)
 *   group=PATH         instead of the records: one entry for each value found at PATH, with the number of records,
 *   sum=PATH           and count, sum, minimum, maximum and mean of the numbers at PATH
 *   pretty             indents the answer
 *
 * A PATH is names and array indices joined by dots: customer.address.0.city. Fields that a record lacks are null.
 * The answer is {"count": n, "records": [...]} or {"count": n, "groups": [...]}. A body that is not JSON is answered
 * with a 400 that says where it goes wrong. */
#include "call.h"
#include "query.h"

#include "yyjson.h"

enum { BODY_BYTES_MAX = 16 << 20, FIELDS_MAX = 32, GROUPS_MAX = 10000 };

/* A field of the answer: where it comes from and what it is called. */
struct field {
    const char *path, *name;
};

/* What the query asks for. The texts point into `text`. */
struct request {
    char from[256], where[256], select[1024], group[256], sum[256];
    const char *where_value;
    struct field fields[FIELDS_MAX];
    size_t field_count;
    int filters, selects, groups, pretty;
};

/* One entry of a grouped answer. */
struct group {
    const char *key;
    size_t key_bytes, records, numbers;
    double sum, minimum, maximum;
};

/* Follows a path of names and indices; NULL if it leads nowhere. */
static yyjson_val *at_path(yyjson_val *value, const char *path) {
    while (value && *path) {
        size_t bytes = strcspn(path, ".");
        if (yyjson_is_arr(value)) {
            char *end;
            unsigned long index = strtoul(path, &end, 10);
            if (bytes == 0 || end != path + bytes) return NULL;
            value = yyjson_arr_get(value, index);
        } else {
            value = yyjson_obj_getn(value, path, bytes);
        }
        path += bytes;
        if (*path) path++;
    }
    return value;
}

/* A scalar as text, for comparing and grouping: strings as they are, everything else as JSON writes it. The text lives
 * as long as the instance. Returns NULL if memory runs out. */
static const char *as_text(yyjson_val *value, size_t *bytes) {
    if (!value) {
        *bytes = 4;
        return "null";
    }
    if (yyjson_is_str(value)) {
        *bytes = yyjson_get_len(value);
        return yyjson_get_str(value);
    }
    return yyjson_val_write(value, YYJSON_WRITE_NOFLAG, bytes);
}

/* Takes a parameter into `text`. Returns 1 if it is there, 0 if not, -1 if it is too long. */
static int take(const char *query, const char *name, char *text, size_t text_bytes) {
    int length = query_parameter(query, name, text, text_bytes);
    return length < 0 ? 0 : (size_t)length < text_bytes ? 1 : -1;
}

/* Reads the query. Returns NULL, or what is wrong with it. */
static const char *parse_request(struct request *request) {
    char query[4096], unused[2];
    if (read_query(query, sizeof query)) return "the query is longer than 4095 bytes";
    int from = take(query, "from", request->from, sizeof request->from);
    request->filters = take(query, "where", request->where, sizeof request->where);
    request->selects = take(query, "select", request->select, sizeof request->select);
    request->groups = take(query, "group", request->group, sizeof request->group);
    int sums = take(query, "sum", request->sum, sizeof request->sum);
    request->pretty = query_parameter(query, "pretty", unused, sizeof unused) >= 0;
    if (from < 0 || request->filters < 0 || request->selects < 0 || request->groups < 0 || sums < 0)
        return "a parameter of the query is too long";
    if (sums && !request->groups) return "sum needs group";
    if (request->groups && request->selects) return "select and group exclude each other";

    if (request->filters) {
        char *colon = strchr(request->where, ':');
        if (!colon) return "where must be PATH:VALUE";
        *colon = 0;
        request->where_value = colon + 1;
    }
    for (char *part = request->selects ? request->select : NULL; part && *part;) {
        if (request->field_count == FIELDS_MAX) return "select names more than 32 fields";
        char *comma = strchr(part, ',');
        if (comma) *comma = 0;
        struct field *field = &request->fields[request->field_count++];
        char *colon = strchr(part, ':'), *dot = strrchr(part, '.');
        field->path = part;
        field->name = colon ? colon + 1 : dot ? dot + 1 : part;
        if (colon) *colon = 0;
        part = comma ? comma + 1 : NULL;
    }
    return NULL;
}

/* Answers 400 and says where the document goes wrong. */
static int answer_bad_json(const struct buffer *body, const yyjson_read_err *error) {
    struct buffer answer = {0};
    size_t line = 1, column = 1;
    for (size_t i = 0; i < error->pos && i < body->length; i++) {
        column++;
        if (body->bytes[i] == '\n') {
            line++;
            column = 1;
        }
    }
    buffer_text(&answer, "{\"error\":");
    buffer_json_string(&answer, error->msg, strlen(error->msg));
    buffer_text(&answer, ",\"position\":");
    buffer_number(&answer, error->pos);
    buffer_text(&answer, ",\"line\":");
    buffer_number(&answer, line);
    buffer_text(&answer, ",\"column\":");
    buffer_number(&answer, column);
    buffer_text(&answer, "}\n");
    set_status(400);
    return answer_buffer(&answer, "application/json");
}

static int matches(const struct request *request, yyjson_val *record) {
    if (!request->filters) return 1;
    size_t bytes = 0;
    const char *text = as_text(at_path(record, request->where), &bytes);
    return text && bytes == strlen(request->where_value) && memcmp(text, request->where_value, bytes) == 0;
}

/* A record as the answer shows it. */
static yyjson_mut_val *project(const struct request *request, yyjson_mut_doc *answer, yyjson_val *record) {
    if (!request->selects) return yyjson_val_mut_copy(answer, record);
    yyjson_mut_val *object = yyjson_mut_obj(answer);
    for (size_t i = 0; i < request->field_count; i++) {
        yyjson_val *value = at_path(record, request->fields[i].path);
        yyjson_mut_val *copy = value ? yyjson_val_mut_copy(answer, value) : yyjson_mut_null(answer);
        if (!yyjson_mut_obj_add(object, yyjson_mut_str(answer, request->fields[i].name), copy)) return NULL;
    }
    return object;
}

/* Groups in the order in which their keys first appear, found through a hash table of twice as many places. */
static struct group groups[GROUPS_MAX];
static size_t group_count;
static uint16_t places[1 << 15];

/* The group of a key, created at need; NULL if there are too many. */
static struct group *group_of(const char *key, size_t key_bytes) {
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < key_bytes; i++) hash = (hash ^ (unsigned char)key[i]) * 16777619u;
    for (uint32_t place = hash;; place++) {
        uint16_t *slot = &places[place & ((1 << 15) - 1)];
        if (*slot == 0) {
            if (group_count == GROUPS_MAX) return NULL;
            struct group *group = &groups[group_count++];
            *slot = (uint16_t)group_count;
            group->key = key;
            group->key_bytes = key_bytes;
            return group;
        }
        struct group *group = &groups[*slot - 1];
        if (group->key_bytes == key_bytes && memcmp(group->key, key, key_bytes) == 0) return group;
    }
}

/* Adds a record to its group. Returns NULL, or what went wrong. */
static const char *aggregate(const struct request *request, yyjson_val *record) {
    size_t bytes = 0;
    const char *key = as_text(at_path(record, request->group), &bytes);
    if (!key) return "the groups need more memory than this function has";
    struct group *group = group_of(key, bytes);
    if (!group) return "there are more than 10000 groups";
    group->records++;
    yyjson_val *value = *request->sum ? at_path(record, request->sum) : NULL;
    if (!yyjson_is_num(value)) return NULL;
    double number = yyjson_get_num(value);
    if (group->numbers == 0 || number < group->minimum) group->minimum = number;
    if (group->numbers == 0 || number > group->maximum) group->maximum = number;
    group->sum += number;
    group->numbers++;
    return NULL;
}

/* A number as JSON: whole numbers without a fraction; null for what JSON cannot write. */
static yyjson_mut_val *number(yyjson_mut_doc *answer, double value) {
    if (value >= -9007199254740992.0 && value <= 9007199254740992.0 && value == (double)(int64_t)value)
        return yyjson_mut_sint(answer, (int64_t)value);
    if (value - value != 0) return yyjson_mut_null(answer);
    return yyjson_mut_real(answer, value);
}

static int put_groups(const struct request *request, yyjson_mut_doc *answer, yyjson_mut_val *list) {
    for (size_t i = 0; i < group_count; i++) {
        const struct group *group = &groups[i];
        yyjson_mut_val *entry = yyjson_mut_arr_add_obj(answer, list);
        int ok = entry && yyjson_mut_obj_add_strn(answer, entry, "key", group->key, group->key_bytes) &&
                 yyjson_mut_obj_add_uint(answer, entry, "records", group->records);
        if (ok && *request->sum) {
            ok = yyjson_mut_obj_add_uint(answer, entry, "count", group->numbers) &&
                 yyjson_mut_obj_add_val(answer, entry, "sum", number(answer, group->sum));
            if (ok && group->numbers)
                ok = yyjson_mut_obj_add_val(answer, entry, "min", number(answer, group->minimum)) &&
                     yyjson_mut_obj_add_val(answer, entry, "max", number(answer, group->maximum)) &&
                     yyjson_mut_obj_add_val(answer, entry, "mean", number(answer, group->sum / (double)group->numbers));
        }
        if (!ok) return -1;
    }
    return 0;
}

DORMOUSE_EXPORT(handle) int handle(void) {
    static struct request request;
    static struct buffer body;
    const char *wrong = parse_request(&request);
    if (wrong) return answer_text(400, wrong);
    int error = read_body(&body, BODY_BYTES_MAX);
    if (error) return answer_body_error(error);

    yyjson_read_err read_error;
    yyjson_doc *document = yyjson_read_opts(body.bytes, body.length, YYJSON_READ_NOFLAG, NULL, &read_error);
    if (!document && read_error.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION) return answer_body_error(-2);
    if (!document) return answer_bad_json(&body, &read_error);
    yyjson_val *records = at_path(yyjson_doc_get_root(document), request.from);
    if (!records) return answer_text(422, "the document has nothing at the path that from names");

    yyjson_mut_doc *answer = yyjson_mut_doc_new(NULL);
    yyjson_mut_val *root = answer ? yyjson_mut_obj(answer) : NULL;
    yyjson_mut_val *list = answer ? yyjson_mut_arr(answer) : NULL;
    if (!list) return answer_body_error(-2);
    size_t count = 0, many = yyjson_is_arr(records) ? yyjson_arr_size(records) : 1;
    yyjson_val *record = yyjson_is_arr(records) ? yyjson_arr_get_first(records) : records;
    for (size_t i = 0; i < many; i++, record = unsafe_yyjson_get_next(record)) {
        if (!matches(&request, record)) continue;
        count++;
        if (request.groups) {
            wrong = aggregate(&request, record);
            if (wrong) return answer_text(422, wrong);
        } else if (!yyjson_mut_arr_append(list, project(&request, answer, record))) {
            return answer_body_error(-2);
        }
    }
    if (request.groups && put_groups(&request, answer, list) != 0) return answer_body_error(-2);

    yyjson_mut_doc_set_root(answer, root);
    yyjson_mut_obj_add_uint(answer, root, "count", count);
    yyjson_mut_obj_add_val(answer, root, request.groups ? "groups" : "records", list);
    size_t bytes;
    char *text = yyjson_mut_write(answer, request.pretty ? YYJSON_WRITE_PRETTY : YYJSON_WRITE_NOFLAG, &bytes);
    if (!text) return answer_body_error(-2);
    content_type("application/json");
    write_call_output(text, bytes);
    write_call_output("\n", 1);
    return 0;
}
