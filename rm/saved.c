#include "rm/saved.h"

#include <assert.h>

/* Writes into the blob, whose size SAVED_BYTES_MAX bounds. */
struct pen {
    uint8_t *data;
    uint32_t used;
};

static void put(struct pen *p, uint64_t value, uint32_t size)
{
    assert(p->used + size <= SAVED_BYTES_MAX);
    for (uint32_t i = 0; i < size; i++)
        p->data[p->used++] = (uint8_t)(value >> 8u * i);
}

static void put_name(struct pen *p, const char *name)
{
    size_t size = strlen(name);

    assert(size < NAME_SIZE && p->used + 1 + size <= SAVED_BYTES_MAX);
    put(p, size, 1);
    memcpy(p->data + p->used, name, size);
    p->used += (uint32_t)size;
}

/* Reads what may be damaged: beyond the end it gives zeros and remembers that. */
struct reader {
    struct bytes from;
    size_t place;
    bool broken;
};

static uint64_t take(struct reader *r, uint32_t size)
{
    uint64_t value = 0;

    if (r->from.size - r->place < size) {
        r->broken = true;
        r->place = r->from.size;
        return 0;
    }
    for (uint32_t i = 0; i < size; i++)
        value |= (uint64_t)r->from.data[r->place++] << 8u * i;
    return value;
}

static void take_name(struct reader *r, char name[NAME_SIZE])
{
    uint32_t size = (uint32_t)take(r, 1);

    if (size >= NAME_SIZE || r->from.size - r->place < size) {
        r->broken = true;
        size = 0;
    }
    if (size)
        memcpy(name, r->from.data + r->place, size);
    name[size] = '\0';
    r->place += size;
}

static void put_policy(struct pen *p, const struct view_policy *policy)
{
    put(p, policy->style, 1);
    put(p, policy->propagation, 1);
    put(p, policy->acks, 1);
    put(p, policy->acks_count, 4);
}

static void take_policy(struct reader *r, struct view_policy *policy)
{
    uint64_t style = take(r, 1), propagation = take(r, 1), acks = take(r, 1);

    if (style > STYLE_PASSIVE || propagation > PROPAGATION_CHAIN || acks > ACKS_COUNT)
        r->broken = true;
    policy->style = style == STYLE_PASSIVE ? STYLE_PASSIVE : STYLE_ACTIVE;
    policy->propagation = propagation == PROPAGATION_CHAIN ? PROPAGATION_CHAIN : PROPAGATION_STAR;
    policy->acks = (enum acks_policy)(acks <= ACKS_COUNT ? acks : ACKS_ALL);
    policy->acks_count = (uint32_t)take(r, 4);
}

static void put_view(struct pen *p, const struct message_view *view)
{
    put(p, view->number, 8);
    put(p, view->style, 1);
    put(p, view->propagation, 1);
    put(p, view->acks, 1);
    put(p, node_index(view->primary), 1);
    put(p, view->lease_wait_ms, 4);
    put(p, view->members.set, 4);
    for (uint32_t i = 0; i < SERVER_COUNT_MAX; i++)
        if (view->members.set >> i & 1u)
            put(p, view->members.incarnation[i], 8);
}

static void take_view(struct reader *r, uint32_t server_count, struct message_view *view)
{
    uint32_t primary;

    *view = (struct message_view){ .number = take(r, 8) };
    view->style = (uint8_t)take(r, 1);
    view->propagation = (uint8_t)take(r, 1);
    view->acks = (uint8_t)take(r, 1);
    primary = (uint32_t)take(r, 1);
    view->lease_wait_ms = (uint32_t)take(r, 4);
    view->members.set = (uint32_t)take(r, 4);
    if (view->number < 1 || view->number > VIEW_NUMBER_MAX || view->style > STYLE_PASSIVE ||
        view->propagation > PROPAGATION_CHAIN || primary >= server_count ||
        view->members.set >> server_count != 0 || !(view->members.set >> primary & 1u) ||
        view->acks < 1 || view->acks > members_count(&view->members)) {
        r->broken = true;
        return;
    }
    view->primary = NODE_SERVER(primary);
    for (uint32_t i = 0; i < server_count; i++)
        if (view->members.set >> i & 1u)
            view->members.incarnation[i] = take(r, 8);
}

void saved_init(struct saved *saved, const struct view_policy *configured, uint32_t server_count)
{
    assert(server_count >= 1 && server_count <= SERVER_COUNT_MAX);
    *saved = (struct saved){
        .configured = *configured,
        .wanted = *configured,
        .server_count = server_count,
    };
}

static bool policies_equal(const struct view_policy *a, const struct view_policy *b)
{
    return a->style == b->style && a->propagation == b->propagation && a->acks == b->acks &&
           a->acks_count == b->acks_count;
}

/* Servers are told apart by their place in the config: a name that changed its place would turn one
 * server's reports into another's. New servers at the end change nothing. */
static enum error_code load_names(struct saved *saved, struct reader *r, struct error *error)
{
    uint32_t count = (uint32_t)take(r, 1);
    char name[NAME_SIZE];

    for (uint32_t i = 0; i < count && !r->broken; i++) {
        take_name(r, name);
        if (r->broken)
            break;
        if (i >= saved->server_count)
            return error_set(error, ERROR_CONFIG,
                             "the stored views are of %u servers, among them %s, which the config "
                             "does not have: put it back into the config, in its old place",
                             (unsigned)count, name);
        if (strcmp(name, node_name(NODE_SERVER(i))) != 0)
            return error_set(error, ERROR_CONFIG,
                             "server %u of the stored views is %s, but %s in the config: put the "
                             "servers back in their old order, and new ones at the end",
                             (unsigned)i + 1, name, node_name(NODE_SERVER(i)));
    }
    return ERROR_NONE;
}

static void load_views(struct saved *saved, struct reader *r)
{
    uint32_t count = (uint32_t)take(r, 1);

    if (count > SAVED_VIEWS_MAX)
        r->broken = true;
    for (uint32_t i = 0; i < count && !r->broken; i++) {
        take_view(r, saved->server_count, &saved->views[i]);
        if (i > 0 && saved->views[i].number <= saved->views[i - 1].number)
            r->broken = true;
    }
    saved->view_count = r->broken ? 0 : count;
}

enum error_code saved_load(struct saved *saved, struct bytes blob, struct error *error)
{
    struct reader r = { blob, 0, false };
    uint32_t version = (uint32_t)take(&r, 2);
    struct view_policy configured, wanted;

    if (!r.broken && version != SAVED_VERSION)
        return error_set(error, ERROR_CONFIG,
                         "the stored views are of format %u, this rm reads format %u: use the "
                         "release that wrote them",
                         (unsigned)version, SAVED_VERSION);
    take_policy(&r, &configured);
    take_policy(&r, &wanted);
    saved->stopped = (uint32_t)take(&r, 4);
    if (load_names(saved, &r, error) != ERROR_NONE)
        return error->code;
    load_views(saved, &r);
    if (r.broken || r.place != blob.size || saved->stopped >> saved->server_count != 0)
        return error_set(error, ERROR_CONFIG,
                         "the stored views are damaged (%zu bytes, wrong at byte %zu): restore the "
                         "file, or remove it to start over with what the servers report",
                         blob.size, r.place);
    if (policies_equal(&configured, &saved->configured))
        saved->wanted = wanted;
    return ERROR_NONE;
}

static struct bytes encode(struct saved *saved)
{
    struct pen p = { saved->bytes, 0 };

    put(&p, SAVED_VERSION, 2);
    put_policy(&p, &saved->configured);
    put_policy(&p, &saved->wanted);
    put(&p, saved->stopped, 4);
    put(&p, saved->server_count, 1);
    for (uint32_t i = 0; i < saved->server_count; i++)
        put_name(&p, node_name(NODE_SERVER(i)));
    put(&p, saved->view_count, 1);
    for (uint32_t i = 0; i < saved->view_count; i++)
        put_view(&p, &saved->views[i]);
    return bytes_of(saved->bytes, p.used);
}

void saved_store(struct saved *saved, struct effects *out)
{
    struct bytes data = encode(saved);

    saved_check(saved);
    for (uint32_t i = 0; i < out->count; i++)
        if (out->list[i].type == EFFECT_STORE) {
            out->list[i].data = data;
            return;
        }
    effects_add(out, EFFECT_STORE)->data = data;
}

const struct message_view *saved_current(const struct saved *saved)
{
    return saved->view_count ? &saved->views[saved->view_count - 1] : NULL;
}

const struct message_view *saved_view(const struct saved *saved, uint64_t number)
{
    for (uint32_t i = 0; i < saved->view_count; i++)
        if (saved->views[i].number == number)
            return &saved->views[i];
    return NULL;
}

uint32_t view_policy_acks(const struct view_policy *policy, uint32_t member_count)
{
    switch (policy->acks) {
    case ACKS_ALL: return member_count;
    case ACKS_MAJORITY: return member_count ? member_count / 2 + 1 : 0;
    case ACKS_COUNT: return policy->acks_count <= member_count ? policy->acks_count : 0;
    }
    return 0;
}

void saved_check(const struct saved *saved)
{
    assert(saved->server_count >= 1 && saved->server_count <= SERVER_COUNT_MAX);
    assert(saved->view_count <= SAVED_VIEWS_MAX);
    assert(saved->stopped >> saved->server_count == 0);
    for (uint32_t i = 0; i < saved->view_count; i++) {
        const struct message_view *view = &saved->views[i];

        assert(view->number >= 1 && view->number <= VIEW_NUMBER_MAX);
        assert(i == 0 || view->number > saved->views[i - 1].number);
        assert(view->members.set != 0 && view->members.set >> saved->server_count == 0);
        assert(view->members.set >> node_index(view->primary) & 1u);
        assert(view->acks >= 1 && view->acks <= members_count(&view->members));
    }
}
