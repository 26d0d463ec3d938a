/* Makes the seeds of the binary formats: seeds [-n] CORPUS. With checksums off, as the targets that
 * read them. Run again when a format changes; -n only says whether it did, for a target that no
 * longer understands its seeds reaches little and says nothing. Seeds that are text are written by
 * hand. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "rm/saved.h"
#include "rm/store.h"
#include "server/checkpoint_file.h"
#include "server/machine.h"
#include "server/segment_format.h"
#include "server/server.h"
#include "server/services/kv.h"
#include "tests/fuzz/fuzz.h"

#define SEED_BYTES_MAX ((size_t)1 << 20)

static const char *corpus;
static bool check_only;
static uint32_t stale;

static void check_seed(const char *path, const struct buffer *seed)
{
    FILE *file = fopen(path, "rbe");
    struct buffer found = { 0 };

    if (file) {
        buffer_commit(&found,
                      fread(buffer_reserve(&found, SEED_BYTES_MAX), 1, SEED_BYTES_MAX, file));
        (void)fclose(file);
    }
    if (!file || buffer_size(&found) != buffer_size(seed) ||
        memcmp(buffer_head(&found), buffer_head(seed), buffer_size(seed)) != 0) {
        printf("%s: not what the format is now: make fuzz-seeds\n", path);
        stale++;
    }
    buffer_free(&found);
}

static void write_seed(const char *target, const char *name, const struct buffer *seed)
{
    char path[1024];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/%s/%s", corpus, target, name);
    if (check_only) {
        check_seed(path, seed);
        return;
    }
    (void)snprintf(path, sizeof path, "%s/%s", corpus, target);
    (void)mkdir(path, 0755);
    (void)snprintf(path, sizeof path, "%s/%s/%s", corpus, target, name);
    file = fopen(path, "wbe");
    if (!file || fwrite(buffer_head(seed), 1, buffer_size(seed), file) != buffer_size(seed) ||
        fclose(file) != 0) {
        perror(path);
        exit(EXIT_FAILURE);
    }
}

static void read_scratch(const char *name, struct buffer *out)
{
    char path[1024];
    FILE *file;

    (void)snprintf(path, sizeof path, "%s/%s", scratch_folder(), name);
    file = fopen(path, "rbe");
    assert(file);
    buffer_commit(out, fread(buffer_reserve(out, SEED_BYTES_MAX), 1, SEED_BYTES_MAX, file));
    (void)fclose(file);
}

static void put_u16(struct buffer *out, size_t value)
{
    const uint8_t bytes[2] = { (uint8_t)value, (uint8_t)(value >> 8) };

    assert(value <= UINT16_MAX);
    buffer_append(out, bytes, sizeof bytes);
}

static void put_piece(struct buffer *out, struct bytes piece)
{
    put_u16(out, piece.size);
    buffer_append(out, piece.data, piece.size);
}

/* ---- Messages ---- */

/* One of each type, whose fields are the smallest that are let through. */
static void message_seeds(void)
{
    static const struct {
        enum message_type type;
        const char *name;
    } types[] = {
#define X(number, name, NAME) { MESSAGE_##NAME, #name },
        MESSAGES(X)
#undef X
    };

    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        struct message m = { .type = types[i].type };
        struct buffer frame = { 0 };

        if ((unsigned)m.type >= MESSAGE_LOCAL_MIN)
            continue;
        if (m.type == MESSAGE_ORDER)
            m.order = (struct message_order){ NODE_SERVER(1), ORDER_STOP };
        if (m.type == MESSAGE_VIEW) {
            m.view = (struct message_view){ .number = 7, .acks = 2, .primary = NODE_SERVER(0) };
            members_put(&m.view.members, NODE_SERVER(0), 11);
            members_put(&m.view.members, NODE_SERVER(15), 12);
        }
        if (m.type == MESSAGE_REFUSE)
            (void)snprintf(m.refuse.reason, sizeof m.refuse.reason, "another cluster");
        if (m.type == MESSAGE_FORWARD)
            m.forward.requests = bytes_string("requests");
        message_encode(&m, &frame);
        buffer_consume(&frame, 4);
        write_seed("message", types[i].name, &frame);
        buffer_free(&frame);
    }
}

/* ---- A state ---- */

static void pack_words(struct buffer *request, const char *words)
{
    struct bytes argv[16];
    uint32_t argc = 0;

    while (*words && argc < 16) {
        size_t size = strcspn(words, " ");

        argv[argc++] = bytes_of(words, size);
        words += size + (words[size] == ' ');
    }
    request_pack_command(request, argc, argv);
}

static void tell(struct machine *machine, uint64_t session, const char *words)
{
    struct buffer request = { 0 }, reply = { 0 };
    struct machine_entry entry = { .index = machine_index(machine) + 1,
                                   .time_us = 1600000000000000u + machine_index(machine),
                                   .session = session,
                                   .sequence = 1,
                                   .kind = REQUEST_COMMAND };

    pack_words(&request, words);
    entry.request = buffer_bytes(&request);
    machine_execute(machine, &entry, &reply);
    buffer_free(&request);
    buffer_free(&reply);
}

static struct machine *some_state(void)
{
    static const char *const words[] = { "SET k 1",
                                         "SET k2 value PX 100000000",
                                         "MSET a b n 7 x y",
                                         "EXPIRE a 100000000",
                                         "DEL x",
                                         "APPEND long 0123456789",
                                         "INCR n" };
    struct machine *machine = machine_new(kv_service());

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        tell(machine, i % 3, words[i]);
    return machine;
}

/* Calls take() with each slice. Each is of about so many bytes. */
static void each_slice(struct machine *machine, uint64_t base, uint32_t bytes,
                       void (*take)(void *context, struct bytes slice), void *context)
{
    struct buffer slice = { 0 };
    bool more = true, full;

    machine_checkpoint_begin(machine, base, &full);
    while (more) {
        buffer_clear(&slice, 65536);
        more = machine_checkpoint_slice(machine, bytes, &slice);
        take(context, buffer_bytes(&slice));
    }
    machine_checkpoint_end(machine);
    buffer_free(&slice);
}

static void take_piece(void *context, struct bytes slice)
{
    put_piece(context, slice);
}

static void restore_seed(const char *name, struct machine *machine, uint32_t bytes)
{
    struct buffer seed = { 0 };

    put_u16(&seed, 1000);
    put_u16(&seed, (size_t)machine_index(machine));
    each_slice(machine, 0, bytes, take_piece, &seed);
    write_seed("restore", name, &seed);
    buffer_free(&seed);
}

/* ---- Checkpoints ---- */

static void take_block(void *context, struct bytes slice)
{
    struct error error;

    if (checkpoint_writer_slice(context, slice, &error) != ERROR_NONE)
        abort();
}

static void checkpoint_seed(const char *name, struct machine *machine, uint32_t bytes)
{
    struct checkpoint_head head = { .index = machine_index(machine),
                                    .view = 3,
                                    .time_us = machine_time_us(machine),
                                    .digest = machine_digest(machine),
                                    .cluster = "three",
                                    .service = "kv" };
    struct checkpoint_writer *writer;
    struct buffer seed = { 0 };
    struct error error;
    char file[64];

    if (checkpoint_writer_open(&writer, &files_system, scratch_folder(), &head, &error) !=
        ERROR_NONE)
        abort();
    each_slice(machine, 0, bytes, take_block, writer);
    if (checkpoint_writer_finish(writer, &error) != ERROR_NONE)
        abort();
    files_name(file, sizeof file, "checkpoint-", head.index, "");
    read_scratch(file, &seed);
    write_seed("checkpoint", name, &seed);
    buffer_free(&seed);
}

struct transfer_seed {
    struct buffer bytes;
    uint8_t index, sequence;
};

static void put_message(struct transfer_seed *seed, uint8_t which, uint8_t sequence)
{
    const uint8_t bytes[4] = { which, seed->index, sequence, 0 };

    buffer_append(&seed->bytes, bytes, sizeof bytes);
}

static void take_message(void *context, struct bytes slice)
{
    struct transfer_seed *seed = context;

    put_message(seed, 1, seed->sequence++);
    put_piece(&seed->bytes, slice);
}

/* how: 1 directly, 2 kept on the disk. */
static void transfer_seed(const char *name, struct machine *machine, uint8_t how)
{
    struct transfer_seed seed = { .index = machine ? (uint8_t)machine_index(machine) : 0 };

    buffer_append(&seed.bytes, &how, 1);
    put_message(&seed, 0, 0);
    if (machine)
        each_slice(machine, 0, 100, take_message, &seed);
    put_message(&seed, 4, 0);
    put_message(&seed, 3, seed.sequence);
    put_message(&seed, 5, 0);
    write_seed("transfer", name, &seed.bytes);
    buffer_free(&seed.bytes);
}

/* ---- Journals ---- */

static void pack_record(struct buffer *out, uint64_t index, uint64_t view)
{
    struct journal_record header = {
        .index = index, .view = view, .time_us = 1600000000000000u, .kind = REQUEST_COMMAND
    };
    struct buffer request = { 0 };

    pack_words(&request, "SET key value");
    if (index % 4 == 1) {
        header.kind = REQUEST_VIEW;
        buffer_clear(&request, 0);
    }
    journal_record_pack(out, &header, buffer_bytes(&request));
    buffer_free(&request);
}

static void write_entries(struct segments *segments, uint64_t first, uint64_t last, uint64_t view)
{
    struct buffer group = { 0 };
    struct bytes piece;
    struct error error;

    for (uint64_t i = first; i <= last; i++)
        pack_record(&group, i, view);
    piece = buffer_bytes(&group);
    if (segments_write(segments, &piece, 1, &error) != ERROR_NONE ||
        segments_sync(segments, &error) != ERROR_NONE)
        abort();
    buffer_free(&group);
}

static void some_journal(uint64_t segment_bytes, bool reset)
{
    struct segments_options options = { .directory = scratch_folder(),
                                        .files = &files_system,
                                        .cluster = "three",
                                        .segment_bytes = segment_bytes,
                                        .seed = 7 };
    struct segments_found found = { .first = 1 };
    struct segments *segments;
    struct error error;

    scratch_empty();
    if (segments_open(&segments, &options, &found, &error) != ERROR_NONE)
        abort();
    write_entries(segments, 1, 3, 1);
    if (reset && segments_reset(segments, 40, 2, &error) != ERROR_NONE)
        abort();
    write_entries(segments, reset ? 41 : 3, reset ? 42 : 5, 2);
    write_entries(segments, reset ? 42 : 5, reset ? 43 : 8, 3);
    segments_close(segments);
}

/* The header without its page, and what is behind it without the zeros at the end. */
static struct buffer squeezed(const char *name)
{
    struct buffer file = { 0 }, out = { 0 };
    size_t size;

    read_scratch(name, &file);
    size = buffer_size(&file);
    while (size > SEGMENT_HEADER_BYTES && file.data[size - 1] == 0)
        size--;
    buffer_append(&out, file.data, sizeof(struct segment_header));
    buffer_append(&out, file.data + SEGMENT_HEADER_BYTES, size - SEGMENT_HEADER_BYTES);
    buffer_free(&file);
    return out;
}

static void segments_seed(const char *name, uint64_t segment_bytes, bool reset)
{
    struct buffer seed = { 0 }, first, second = { 0 };

    some_journal(segment_bytes, reset);
    first = squeezed("journal-000000000001");
    if (segment_bytes < 8192)
        second = squeezed("journal-000000000002");
    put_piece(&seed, buffer_bytes(&first));
    buffer_append(&seed, second.data, buffer_size(&second));
    write_seed("segments", name, &seed);
    buffer_free(&seed);
    buffer_free(&first);
    buffer_free(&second);
}

static void records_seed(void)
{
    struct buffer seed = { 0 };

    for (uint64_t i = 1; i <= 6; i++)
        pack_record(&seed, i, 1);
    pack_record(&seed, 4, 2);
    write_seed("records", "replaced", &seed);
    buffer_free(&seed);
}

/* ---- The rm's store ---- */

static void store_seed(const char *name, uint32_t views)
{
    static struct saved saved;
    struct view_policy policy = { STYLE_ACTIVE, PROPAGATION_STAR, ACKS_ALL, 0 };
    struct effects *out = memory_zeroed(1, sizeof *out);
    struct config config = { .cluster = "three" };
    struct buffer seed = { 0 };
    struct store store;
    struct error error;

    (void)snprintf(config.run_dir, sizeof config.run_dir, "%s", scratch_folder());
    saved_init(&saved, &policy, 3);
    saved.view_count = views;
    for (uint32_t i = 0; i < views; i++) {
        saved.views[i] = (struct message_view){ .number = 1 + i, .acks = 2 };
        saved.views[i].primary = NODE_SERVER(i % 2);
        members_put(&saved.views[i].members, NODE_SERVER(0), 11);
        members_put(&saved.views[i].members, NODE_SERVER(1), 21);
    }
    saved_store(&saved, out);
    store_init(&store, &config);
    if (store_save(&store, out->list[0].data, &error) != ERROR_NONE)
        abort();
    for (uint32_t slot = 0; slot < STORE_SLOTS; slot++)
        buffer_append(&seed, store.image, store.size);
    write_seed("store", name, &seed);
    buffer_free(&seed);
    free(out);
}

/* ---- Steps ---- */

static void put_step(struct buffer *seed, uint8_t what, uint8_t how)
{
    const uint8_t step[2] = { what, how };

    buffer_append(seed, step, sizeof step);
}

/* ---- Servers among themselves ---- */

#define TALK_SERVERS  3u
#define TALK_NOTED    1u /* whose side of it becomes the seed */
#define TALK_MESSAGES 64u
#define TALK_TURN_MS  5u

/* As the steps of fuzz_server.c. */
enum { SERVER_FRAME = 3, SERVER_RM = 4, SERVER_TIME = 5, SERVER_CLIENT = 6, SERVER_LINK = 7 };

struct talk {
    struct server *servers[TALK_SERVERS];
    struct effects *out;
    struct instant now;
    struct {
        node_id from, to;
        struct buffer frame;
    } under_way[TALK_MESSAGES];
    uint32_t count;
    uint32_t deaf; /* hears nothing of s1 */
    struct buffer seed;
};

static void no_reply(void *context, uint64_t client, enum outcome outcome, struct bytes reply)
{
    (void)context;
    (void)client;
    (void)outcome;
    (void)reply;
}

static void talk_donate(struct talk *t, const struct message_donor_wanted *wanted);

static void talk_carry_out(struct talk *t, uint32_t speaker)
{
    struct message_donor_wanted wanted = { 0 };

    for (uint32_t i = 0; i < t->out->count; i++) {
        const struct effect *effect = &t->out->list[i];

        if (effect->type == EFFECT_SEND && effect->message.type == MESSAGE_DONOR_WANTED)
            wanted = effect->message.donor_wanted;
        if (effect->type != EFFECT_SEND || !node_is_server(effect->node) ||
            (speaker == 0 && node_index(effect->node) == t->deaf))
            continue;
        assert(t->count < TALK_MESSAGES);
        t->under_way[t->count].from = NODE_SERVER(speaker);
        t->under_way[t->count].to = effect->node;
        message_encode(&effect->message, &t->under_way[t->count].frame);
        buffer_consume(&t->under_way[t->count++].frame, 4);
    }
    effects_clear(t->out);
    if (wanted.number)
        talk_donate(t, &wanted);
}

static void talk_hear(struct talk *t, uint32_t hearer, node_id from, struct message message)
{
    message.from = from;
    server_receive(t->servers[hearer], t->now, &message, t->out);
    talk_carry_out(t, hearer);
}

/* The rm asks a member that does not lead. */
static void talk_donate(struct talk *t, const struct message_donor_wanted *wanted)
{
    struct message donate = { .type = MESSAGE_DONATE,
                              .donate = { wanted->number, wanted->joiner, wanted->incarnation,
                                          wanted->index } };

    for (uint32_t i = 0; i < TALK_SERVERS; i++)
        if (NODE_SERVER(i) != wanted->joiner) {
            if (i == TALK_NOTED) /* as it is made of the numbers of the primary */
                continue;
            talk_hear(t, i, NODE_RM, donate);
        }
}

static void talk_deliver(struct talk *t)
{
    for (uint32_t i = 0; i < t->count; i++) {
        node_id from = t->under_way[i].from;
        uint32_t to = node_index(t->under_way[i].to);
        struct buffer frame = t->under_way[i].frame;
        struct message message;
        struct error error;

        t->under_way[i].frame = (struct buffer){ 0 };
        if (to == TALK_NOTED) {
            put_step(&t->seed, SERVER_FRAME, node_index(from) == 0 ? 0 : 1);
            put_piece(&t->seed, buffer_bytes(&frame));
        }
        if (message_decode(buffer_bytes(&frame), &message, &error) != ERROR_NONE)
            abort();
        talk_hear(t, to, from, message);
        buffer_free(&frame);
    }
    t->count = 0;
}

/* Turns of all servers, with what they have to say to one another. */
static void talk_turns(struct talk *t, uint32_t turns)
{
    for (; turns > 0; turns--) {
        t->now = instant_add_ms(t->now, TALK_TURN_MS);
        put_step(&t->seed, SERVER_TIME, TALK_TURN_MS);
        for (uint32_t i = 0; i < TALK_SERVERS; i++) {
            server_wall(t->servers[i], 1700000000000000u + t->now.ns / 1000u);
            server_tick(t->servers[i], t->now, t->out);
            talk_carry_out(t, i);
        }
        talk_deliver(t);
    }
}

static void talk_ask(struct talk *t, uint32_t whom, const char *words)
{
    struct server_request request = { .client = 1, .stream = 1, .kind = REQUEST_COMMAND };
    struct buffer packed = { 0 };

    pack_words(&packed, words);
    request.request = buffer_bytes(&packed);
    if (whom == TALK_NOTED)
        put_step(&t->seed, SERVER_CLIENT, 1);
    (void)server_submit(t->servers[whom], t->now, 1700000000000000u, &request, t->out);
    talk_carry_out(t, whom);
    buffer_free(&packed);
}

static void talk_view(struct talk *t, uint64_t number, uint8_t style, uint32_t primary,
                      uint32_t members)
{
    struct message view = { .type = MESSAGE_VIEW,
                            .view = { .number = number,
                                      .style = style,
                                      .acks = (uint8_t)__builtin_popcount(members),
                                      .primary = NODE_SERVER(primary) } };

    for (uint32_t i = 0; i < TALK_SERVERS; i++)
        if (members >> i & 1u)
            members_put(&view.view.members, NODE_SERVER(i), 11ull * (i + 1u));
    for (uint32_t i = 0; i < TALK_SERVERS; i++)
        talk_hear(t, i, NODE_RM, view);
    talk_deliver(t);
}

static void talk_link(struct talk *t, uint32_t a, uint32_t b)
{
    const uint32_t ends[2] = { a, b };

    for (uint32_t i = 0; i < 2; i++) {
        uint32_t other = ends[1 - i];

        if (ends[i] == TALK_NOTED && buffer_size(&t->seed) > 0)
            put_step(&t->seed, SERVER_LINK, other == 0 ? 129 : 130);
        talk_hear(t, ends[i], NODE_SERVER(other),
                  (struct message){ .type = MESSAGE_LINK_UP,
                                    .link_up.incarnation = 11ull * (other + 1u) });
    }
}

static void talk_open(struct talk *t)
{
    t->out = memory_zeroed(1, sizeof *t->out);
    t->now = (struct instant){ 1000000000u };
    t->deaf = TALK_SERVERS;
    for (uint32_t i = 0; i < TALK_SERVERS; i++) {
        struct server_options options = { .self = NODE_SERVER(i),
                                          .incarnation = 11ull * (i + 1u),
                                          .service = kv_service(),
                                          .server_count = 4,
                                          .lease_ms = 200,
                                          .checkpoint_interval_ms = 20,
                                          .suspect_after_ms = 200,
                                          .journal_bytes_max = 1,
                                          .pending_bytes_max = 1 << 20,
                                          .sessions_max = 3,
                                          .reply = no_reply };

        t->servers[i] = server_new(&options, t->now);
        assert(t->servers[i]);
        talk_hear(t, i, NODE_RM, (struct message){ .type = MESSAGE_LINK_UP });
    }
}

static void talk_close(struct talk *t, const char *name)
{
    write_seed("server", name, &t->seed);
    for (uint32_t i = 0; i < TALK_SERVERS; i++)
        server_free(t->servers[i]);
    buffer_free(&t->seed);
    free(t->out);
    free(t);
}

/* The view as the rm's, in a seed. */
static void put_view(struct buffer *seed, uint8_t style, uint32_t primary, uint32_t members)
{
    const uint8_t bytes[] = { (uint8_t)(style | (__builtin_popcount(members) - 1) << 2 |
                                        (int)primary << 4),
                              (uint8_t)members };

    buffer_append(seed, bytes, sizeof bytes);
}

static void talk_work(struct talk *t)
{
    talk_ask(t, 0, "SET a 1");
    talk_ask(t, 2, "INCR n");
    talk_turns(t, 4);
    talk_ask(t, TALK_NOTED, "APPEND k v");
    talk_turns(t, 6);
}

/* What s2 hears in a cluster where all goes well, in view 1 and after a change to view 2. One of
 * them may come in only then, after some entries have been dropped. */
static void server_seed(const char *name, uint8_t options, uint8_t style, uint32_t primary,
                        uint32_t joiner)
{
    struct talk *t = memory_zeroed(1, sizeof *t);
    const uint32_t members = 7u & ~(1u << joiner);
    /* Little is kept of the journal; and who is not linked from the start. */
    const uint32_t apart = joiner == TALK_NOTED ? 5u : joiner < TALK_SERVERS ? 1u << joiner : 0;
    const uint8_t head = (uint8_t)(options | 2u | apart << 3);

    talk_open(t);
    for (uint32_t i = 0; i < TALK_SERVERS; i++)
        for (uint32_t k = i + 1; k < TALK_SERVERS; k++)
            if (i != joiner && k != joiner)
                talk_link(t, i, k);
    buffer_append(&t->seed, &head, 1);
    put_view(&t->seed, style, primary, members);
    talk_view(t, 1, style, primary, members);
    talk_turns(t, 2);
    talk_work(t);
    for (uint32_t i = 0; joiner < TALK_SERVERS && i < TALK_SERVERS; i++)
        if (i != joiner)
            talk_link(t, joiner, i);
    talk_turns(t, joiner < TALK_SERVERS ? 10 : 2);
    put_step(&t->seed, SERVER_RM, 192);
    put_view(&t->seed, style, primary, 7u);
    talk_view(t, 2, style, primary, 7u);
    talk_turns(t, 8);
    talk_close(t, name);
}

/* s1 fails with entries that only s2 has of it, and s3 leads: they are dropped. */
static void truncation_seed(void)
{
    struct talk *t = memory_zeroed(1, sizeof *t);
    const uint8_t options = 0;

    talk_open(t);
    for (uint32_t i = 0; i < TALK_SERVERS; i++)
        talk_link(t, i, (i + 1) % TALK_SERVERS);
    buffer_append(&t->seed, &options, 1);
    put_view(&t->seed, STYLE_ACTIVE, 0, 7u);
    talk_view(t, 1, STYLE_ACTIVE, 0, 7u);
    talk_turns(t, 2);
    talk_work(t);
    t->deaf = 2;
    talk_work(t);
    put_step(&t->seed, SERVER_RM, 192);
    put_view(&t->seed, STYLE_ACTIVE, 2, 6u);
    talk_view(t, 2, STYLE_ACTIVE, 2, 6u);
    talk_turns(t, 8);
    talk_close(t, "truncation");
}

/* ---- What the managers hear ---- */

/* As in fuzz_managers.c. */
enum { MANAGERS_FRAME = 3, MANAGERS_TIME = 4, MANAGERS_LINK = 5, MANAGERS_EDGE = 6 };

static void put_said(struct buffer *seed, uint8_t speaker, struct message message)
{
    struct buffer frame = { 0 };

    message_encode(&message, &frame);
    buffer_consume(&frame, 4);
    put_step(seed, MANAGERS_FRAME, speaker);
    put_piece(seed, buffer_bytes(&frame));
    buffer_free(&frame);
}

static void put_membership(struct buffer *seed, uint64_t version, uint32_t set, uint32_t changed,
                           uint8_t change, uint64_t incarnation)
{
    struct message m = { .type = MESSAGE_MEMBERSHIP,
                         .membership = { .version = version,
                                         .changed = NODE_SERVER(changed),
                                         .change = change,
                                         .incarnation = incarnation,
                                         .certain = 1 } };

    for (uint32_t i = 0; i < 4; i++)
        if (set >> i & 1u)
            members_put(&m.membership.members, NODE_SERVER(i),
                        i == changed ? incarnation : 11ull * (i + 1u));
    put_said(seed, 0, m);
}

static void put_state(struct buffer *seed, uint8_t server, uint64_t incarnation, uint64_t view)
{
    put_said(seed, 1 + server,
             (struct message){ .type = MESSAGE_STATE,
                               .state = { .incarnation = incarnation,
                                          .promised = view,
                                          .view = view,
                                          .role = view ? ROLE_BACKUP : ROLE_NONE,
                                          .intact = 1,
                                          .journal_view = view,
                                          .journal_index = 5 * view } });
}

static void put_report(struct buffer *seed, uint8_t server, uint64_t number, uint64_t view)
{
    put_said(seed, 1 + server,
             (struct message){ .type = MESSAGE_REPORT,
                               .report = { .number = number,
                                           .incarnation = 11ull * (server + 1u),
                                           .intact = 1,
                                           .journal_view = view,
                                           .last_index = 5 * view,
                                           .commit_index = 4 * view } });
}

static void put_active(struct buffer *seed, uint8_t server, uint64_t number)
{
    put_said(seed, 1 + server,
             (struct message){ .type = MESSAGE_ACTIVE, .active = { number, 5 * number } });
}

/* A view of all, the crash of its primary, its successor, and the primary back as a joiner. */
static void rm_seed(void)
{
    struct buffer seed = { 0 };
    const uint8_t rm = 0;

    buffer_append(&seed, &rm, 1);
    put_membership(&seed, 3, 15, 0, CHANGE_NONE, 11);
    for (uint8_t i = 0; i < 4; i++)
        put_state(&seed, i, 11ull * (i + 1u), 0);
    put_step(&seed, MANAGERS_TIME, 50);
    for (uint8_t i = 0; i < 4; i++)
        put_report(&seed, i, 1, 0);
    put_active(&seed, 0, 1);
    for (uint8_t i = 0; i < 4; i++)
        put_state(&seed, i, 11ull * (i + 1u), 1);
    put_step(&seed, MANAGERS_TIME, 50);
    put_membership(&seed, 4, 14, 0, CHANGE_DELETE, 11);
    for (uint8_t i = 1; i < 4; i++)
        put_report(&seed, i, 2, 1);
    put_active(&seed, 1, 2);
    put_step(&seed, MANAGERS_TIME, 130);
    put_membership(&seed, 5, 15, 0, CHANGE_ADD, 196);
    put_step(&seed, MANAGERS_LINK, 196); /* another life of s1 */
    put_state(&seed, 0, 196, 0);
    put_said(&seed, 2,
             (struct message){ .type = MESSAGE_DONOR_WANTED,
                               .donor_wanted = { 2, NODE_SERVER(0), 196, 3 } });
    put_said(&seed, 1,
             (struct message){ .type = MESSAGE_PROGRESS,
                               .progress = { NODE_SERVER(0), 196, PHASE_RECEIVING, 5, 9, 100 } });
    put_said(
        &seed, 2,
        (struct message){ .type = MESSAGE_CAUGHT_UP, .caught_up = { 2, NODE_SERVER(0), 196 } });
    put_said(&seed, 2,
             (struct message){ .type = MESSAGE_ACCUSE,
                               .accuse = { 2, NODE_SERVER(2), 33, "it is silent" } });
    put_step(&seed, MANAGERS_EDGE, 30); /* another style */
    put_step(&seed, MANAGERS_EDGE, 70); /* a link is cut */
    put_step(&seed, MANAGERS_TIME, 255);
    for (uint8_t i = 1; i < 4; i++)
        put_report(&seed, i, 3, 2);
    put_active(&seed, 1, 3);
    put_step(&seed, MANAGERS_TIME, 255);
    put_step(&seed, MANAGERS_EDGE, 240);
    write_seed("managers", "rm", &seed);
    buffer_free(&seed);
}

/* Servers of two hosts come, one host goes and is back, the other is silent. */
static void gfd_seed(void)
{
    static const struct message_add adds[] = { { NODE_SERVER(0), 11, 1001 },
                                               { NODE_SERVER(1), 22, 1002 } };
    struct message deleted = { .type = MESSAGE_DELETE, .delete = { NODE_SERVER(1), 22, 1, "x" } };
    struct message failed = { .type = MESSAGE_START_FAILED,
                              .start_failed = { NODE_SERVER(0), "no such file" } };
    struct buffer seed = { 0 };
    const uint8_t gfd = 2;

    buffer_append(&seed, &gfd, 1);
    for (uint8_t i = 0; i < 2; i++) {
        put_said(&seed, 1 + i, (struct message){ .type = MESSAGE_ADD, .add = adds[i] });
        put_said(&seed, 1 + i, (struct message){ .type = MESSAGE_REGISTERED, .registered = { 1 } });
    }
    put_step(&seed, MANAGERS_TIME, 20);
    put_said(&seed, 1,
             (struct message){ .type = MESSAGE_HEARTBEAT_OK, .heartbeat_ok = { .sequence = 1 } });
    put_said(&seed, 2, deleted);
    put_said(&seed, 0,
             (struct message){ .type = MESSAGE_ORDER, .order = { NODE_SERVER(1), ORDER_START } });
    put_said(&seed, 1, failed);
    put_step(&seed, MANAGERS_LINK, 5);
    put_step(&seed, MANAGERS_TIME, 50);
    put_step(&seed, MANAGERS_LINK, 0x80 + 5);
    put_said(&seed, 1, (struct message){ .type = MESSAGE_ADD, .add = adds[0] });
    put_step(&seed, MANAGERS_TIME, 129);
    write_seed("managers", "gfd", &seed);
    buffer_free(&seed);
}

/* A server is started, answers, is silent and killed; it is started again, and stopped. */
static void lfd_seed(void)
{
    struct message order = { .type = MESSAGE_ORDER, .order = { NODE_SERVER(0), ORDER_START } };
    struct message alive = { .type = MESSAGE_HEARTBEAT_OK,
                             .heartbeat_ok = { .sequence = 1, .oldest_waiting_ms = 6000 } };
    struct buffer seed = { 0 };
    const uint8_t lfd = 3;

    buffer_append(&seed, &lfd, 1);
    put_said(&seed, 0, (struct message){ .type = MESSAGE_HEARTBEAT, .heartbeat = { 1 } });
    for (uint8_t i = 0; i < 2; i++) {
        order.order.action = ORDER_START;
        put_said(&seed, 0, order);
        put_step(&seed, MANAGERS_EDGE, 8);   /* it has a process */
        put_step(&seed, MANAGERS_LINK, 160); /* from that process */
        put_step(&seed, MANAGERS_TIME, 20);
        put_said(&seed, 1, alive);
        put_step(&seed, MANAGERS_TIME, i == 0 ? 129 : 20);
        order.order.action = ORDER_STOP;
        if (i == 1)
            put_said(&seed, 0, order);
        put_step(&seed, MANAGERS_EDGE, 6); /* what its process is doing */
        put_step(&seed, MANAGERS_TIME, 20);
        put_step(&seed, MANAGERS_EDGE, 4 + 16 + 32); /* it is gone */
    }
    write_seed("managers", "lfd", &seed);
    buffer_free(&seed);
}

/* ---- Callers at the port of links ---- */

/* The rm and two servers call, one of them twice; they ask, get what is long, and hang up. */
static void links_seed(void)
{
    enum { FEED = 0, HELLO = 2, TURN = 4, CALL = 5 };
    static const uint8_t steps[][3] = {
        { CALL, 0 }, { HELLO, 0, 0 }, { CALL, 1 }, { HELLO, 1, 1 }, { TURN, 0 },
        { CALL, 2 }, { HELLO, 2, 1 }, { TURN, 0 }, { HELLO, 0, 2 }, { TURN, 0 },
    };
    struct message ask = { .type = MESSAGE_ACK };
    struct message refuse = { .type = MESSAGE_REFUSE, .refuse.reason = "not you" };
    struct buffer seed = { 0 }, frame = { 0 };

    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
        buffer_append(&seed, steps[i], steps[i][0] == HELLO ? 3 : 2);
    message_encode(&ask, &frame);
    put_step(&seed, FEED, 2);
    put_piece(&seed, buffer_bytes(&frame));
    put_step(&seed, FEED, 2);
    put_piece(&seed, bytes_of(buffer_head(&frame), 20));
    put_step(&seed, TURN, 0);
    put_step(&seed, TURN, 0);
    buffer_clear(&frame, 4096);
    message_encode(&refuse, &frame);
    put_step(&seed, FEED, 2);
    put_piece(&seed, buffer_bytes(&frame));
    put_step(&seed, CALL, 2);
    put_step(&seed, TURN, 0);
    write_seed("links", "three", &seed);
    buffer_free(&seed);
    buffer_free(&frame);
}

/* ---- Requests ---- */

static void put_entry(struct buffer *seed, uint8_t kind, uint8_t session, const char *words)
{
    struct buffer request = { 0 };

    if (kind == REQUEST_TRANSACTION || kind == REQUEST_READ_TRANSACTION) {
        request_pack_transaction_begin(&request, 1);
        request_pack_transaction_watch(&request, 0, bytes_string("a"));
        request_pack_transaction_commands(&request, 2);
        pack_words(&request, words);
    }
    if (*words)
        pack_words(&request, words);
    buffer_append(seed, &kind, 1);
    buffer_append(seed, &session, 1);
    put_piece(seed, buffer_bytes(&request));
    buffer_free(&request);
}

static void request_seed(void)
{
    struct buffer seed = { 0 };

    put_entry(&seed, REQUEST_VIEW, 0, "");
    put_entry(&seed, REQUEST_TRANSACTION, 0, "INCR a");
    put_entry(&seed, REQUEST_COMMAND, 0x11, "SET k v");
    put_entry(&seed, REQUEST_MARK, 0, "");
    put_entry(&seed, REQUEST_TRANSACTION, 0x21, "APPEND a b");
    put_entry(&seed, REQUEST_READ, 0, "GET k");
    put_entry(&seed, REQUEST_WATCH, 0, "a k");
    put_entry(&seed, REQUEST_READ_TRANSACTION, 0, "GET a");
    put_entry(&seed, REQUEST_TIME, 0, "");
    write_seed("request", "each_kind", &seed);
    buffer_free(&seed);
}

/* ---- Clients ---- */

struct said {
    uint8_t what,
        how; /* as in fuzz_connection.c: 0 feeds, 2 answers, 3 fails, 4 time, 5 hangs up */
    const char *text;
};

static void connection_seed(const char *name, bool at_once, const struct said *said, size_t count)
{
    struct buffer seed = { 0 };

    buffer_append(&seed, &at_once, 1);
    for (size_t i = 0; i < count; i++) {
        buffer_append(&seed, &said[i], 2);
        if (said[i].what == 0)
            put_piece(&seed, bytes_string(said[i].text));
    }
    write_seed("connection", name, &seed);
    buffer_free(&seed);
}

static void connection_seeds(void)
{
    static const struct said pipeline[] = {
        { 0, 0, "SET a 1\r\nGET a\r\nPING\r\n*2\r\n$3\r\nGET" },
        { 2, 1, NULL },
        { 0, 0, "\r\n$1\r\na\r\n" },
        { 3, 0, NULL },
        { 0, 1, "GET b\r\n" },
        { 5, 0, NULL },
        { 2, 0, NULL },
        { 3, 1, NULL },
        { 5, 129, NULL },
    };
    static const struct said own[] = {
        { 0, 0, "HELLO 3 AUTH default x SETNAME me\r\nCLIENT LIST\r\nCLIENT ID\r\nINFO\r\n" },
        { 0, 1, "CLIENT PAUSE 300 WRITE\r\nSET a 1\r\nCLIENT UNPAUSE\r\nCLIENT INFO\r\n" },
        { 0, 0, "CLIENT REPLY SKIP\r\nPING\r\nCLIENT REPLY OFF\r\nPING\r\nCLIENT REPLY ON\r\n" },
        { 4, 9, NULL },
        { 0, 0, "COMMAND DOCS get\r\nCOMMAND COUNT\r\nCOMMAND INFO set\r\nCONFIG GET *\r\n" },
        { 0, 2, "ROLE\r\nECHO x\r\nREADONLY\r\nGET a\r\nSELECT 0\r\nRESET\r\nDEBUG\r\n" },
        { 0, 2, "CHECKPOINT OPEN 0\r\nCHECKPOINT SAVE 1\r\nCHECKPOINT READ 0\r\n" },
        { 0, 1, "COMMAND GETKEYS mset a b c d\r\nCOMMAND LIST\r\nCLIENT KILL ID 1\r\nQUIT\r\n" },
    };
    static const struct said transactions[] = {
        { 0, 0, "WATCH a b\r\n" },
        { 2, 0, NULL },
        { 0, 0, "MULTI\r\nSET a 1\r\nPING\r\nGET a\r\nECHO x\r\nEXEC\r\nPING\r\n" },
        { 2, 0, NULL },
        { 0, 1, "MULTI\r\nFOO\r\nEXEC\r\nMULTI\r\nDISCARD\r\nUNWATCH\r\nMULTI\r\nEXEC\r\n" },
        { 0, 2, "ONCE 7 1 SET a 1\r\nONCE 7 1 SET a 2\r\nONCE 7 x GET a\r\nONCE 7 3 MULTI\r\n" },
        { 2, 0, NULL },
        { 3, 0, NULL },
        { 2, 0, NULL },
    };

    connection_seed("pipeline", false, pipeline, sizeof pipeline / sizeof pipeline[0]);
    connection_seed("own_commands", true, own, sizeof own / sizeof own[0]);
    connection_seed("transactions", false, transactions,
                    sizeof transactions / sizeof transactions[0]);
}

int main(int argc, char **argv)
{
    struct machine *machine = some_state(), *empty = machine_new(kv_service());

    check_only = argc == 3 && strcmp(argv[1], "-n") == 0;
    if (argc != 2 && !check_only) {
        fprintf(stderr, "usage: seeds [-n] CORPUS\n");
        return 2;
    }
    corpus = argv[argc - 1];
    message_seeds();
    tell(empty, 0, "PING");
    restore_seed("state", machine, 65536);
    restore_seed("state_in_slices", machine, 1);
    restore_seed("empty", empty, 65536);
    checkpoint_seed("state", machine, 65536);
    checkpoint_seed("state_in_slices", machine, 1);
    transfer_seed("directly", machine, 1);
    transfer_seed("kept", machine, 3);
    transfer_seed("aside", machine, 0);
    transfer_seed("of_nothing", NULL, 1);
    segments_seed("one", 65536, false);
    segments_seed("two", 4096 + 512, false);
    segments_seed("reset", 65536, true);
    records_seed();
    store_seed("no_view", 0);
    store_seed("three_views", 3);
    server_seed("backup_active", 0, STYLE_ACTIVE, 0, TALK_SERVERS);
    server_seed("backup_passive", 1, STYLE_PASSIVE, 0, TALK_SERVERS);
    server_seed("primary_active", 1, STYLE_ACTIVE, 1, TALK_SERVERS);
    server_seed("primary_passive", 0, STYLE_PASSIVE, 1, TALK_SERVERS);
    server_seed("primary_with_joiner", 0, STYLE_ACTIVE, 1, 2);
    server_seed("joiner", 0, STYLE_ACTIVE, 0, TALK_NOTED);
    server_seed("joiner_with_disk", 1, STYLE_PASSIVE, 0, TALK_NOTED);
    truncation_seed();
    links_seed();
    rm_seed();
    gfd_seed();
    lfd_seed();
    request_seed();
    connection_seeds();
    machine_free(machine);
    machine_free(empty);
    return stale ? EXIT_FAILURE : EXIT_SUCCESS;
}
