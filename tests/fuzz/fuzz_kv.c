/* Every command of kv, with and without ONCE, and in transactions: each has one reply, and
 * checkpoints, full ones and those of changes, begun anywhere and read while commands go on, come
 * to the same state, which then says and becomes the same.
 *
 * An input is commands as clients send them, and besides: ONCE session sequence command…, MULTI and
 * EXEC, @AT ms (time goes on), @TICK (an entry without a command), @BEGIN (of a checkpoint for the
 * backup), @SLICE and @END. */
#include "common/resp.h"
#include "server/services/kv.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/machines.h"

#define VALUE_BYTES_MAX 100000 /* longer ones show nothing new */
#define CHECKPOINTS_MAX 8u     /* they take long */
#define COMMANDS_QUEUED 100u   /* in a transaction */
#define SLICE_BYTES     64u
#define AT_MS_MAX       100000000
#define FIRST_TIME_US   1700000000000000u

struct pair {
    struct machine *machine, *copy; /* both execute everything */
    struct machine *backup;         /* gets checkpoints */
    uint64_t time_us;
    struct {
        bool open;
        uint64_t index, time_us, digest; /* that it is to come to */
    } checkpoint;
    uint32_t checkpoints;
    bool queuing;
    uint32_t queued;
    struct buffer commands; /* packed, of a transaction */
};

static void execute(struct pair *p, uint8_t kind, uint64_t session, uint64_t sequence,
                    struct bytes request)
{
    struct machine_entry entry = { .index = machine_index(p->machine) + 1,
                                   .time_us = p->time_us,
                                   .session = session,
                                   .sequence = sequence,
                                   .kind = kind,
                                   .request = request };

    machines_execute(p->machine, p->copy, &entry);
}

static void query(struct pair *p, struct bytes request)
{
    struct buffer reply = { 0 };
    uint64_t digest = machine_digest(p->machine);
    uint32_t replies;

    machine_query(p->machine, REQUEST_READ, p->time_us, request, &reply);
    replies = replies_check(buffer_bytes(&reply));
    assert(replies == 1 && machine_digest(p->machine) == digest);
    buffer_free(&reply);
}

/* ---- The backup ---- */

static void checkpoint_begin(struct pair *p)
{
    bool full;

    /* Of the state before the first entry there is none. */
    if (p->checkpoint.open || machine_index(p->machine) == 0 || p->checkpoints++ >= CHECKPOINTS_MAX)
        return;
    machine_checkpoint_begin(p->machine, machine_index(p->backup), &full);
    machine_restore_begin(p->backup, full);
    p->checkpoint.open = true;
    p->checkpoint.index = machine_index(p->machine);
    p->checkpoint.time_us = machine_time_us(p->machine);
    p->checkpoint.digest = machine_digest(p->machine);
}

static void checkpoint_end(struct pair *p)
{
    if (!p->checkpoint.open)
        return;
    p->checkpoint.open = false;
    machines_transfer(p->machine, p->backup, p->checkpoint.index, p->checkpoint.time_us,
                      p->checkpoint.digest);
}

static void checkpoint_slice(struct pair *p)
{
    struct buffer slice = { 0 };
    bool more, good;

    if (!p->checkpoint.open)
        return;
    more = machine_checkpoint_slice(p->machine, SLICE_BYTES, &slice);
    good = machine_restore_slice(p->backup, buffer_bytes(&slice));
    assert(good);
    buffer_free(&slice);
    if (more)
        return;
    p->checkpoint.open = false;
    machine_checkpoint_end(p->machine);
    good = machine_restore_end(p->backup, p->checkpoint.index, p->checkpoint.time_us,
                               p->checkpoint.digest);
    assert(good);
}

/* ---- Commands ---- */

static void transaction_end(struct pair *p)
{
    struct buffer request = { 0 };

    request_pack_transaction_begin(&request, 0);
    request_pack_transaction_commands(&request, p->queued);
    buffer_append(&request, buffer_bytes(&p->commands).data, buffer_size(&p->commands));
    execute(p, REQUEST_TRANSACTION, 0, 0, buffer_bytes(&request));
    buffer_free(&request);
    buffer_clear(&p->commands, 4096);
    p->queued = 0;
    p->queuing = false;
}

/* Not one that makes a value of megabytes. */
static bool bounded(uint32_t argc, const struct bytes *argv)
{
    int64_t offset;

    return argc < 3 || !resp_is(argv[0], "setrange") || !resp_integer(argv[2], &offset) ||
           offset < VALUE_BYTES_MAX;
}

static void service_command(struct pair *p, uint64_t session, uint64_t sequence, uint32_t argc,
                            const struct bytes *argv)
{
    const struct service_command *command = service_command_find(kv_service(), argv[0]);
    struct buffer request = { 0 };

    if (!bounded(argc, argv))
        return;
    request_pack_command(&request, argc, argv);
    if (p->queuing && p->queued < COMMANDS_QUEUED) {
        buffer_append(&p->commands, buffer_head(&request), buffer_size(&request));
        p->queued++;
    } else if (command && command->flags & COMMAND_READ && !session) {
        query(p, buffer_bytes(&request));
    } else {
        execute(p, REQUEST_COMMAND, session, sequence, buffer_bytes(&request));
    }
    buffer_free(&request);
}

static void once(struct pair *p, uint32_t argc, const struct bytes *argv)
{
    int64_t session, sequence;

    if (argc > 3 && resp_integer(argv[1], &session) && resp_integer(argv[2], &sequence) &&
        session > 0 && sequence >= 0)
        service_command(p, (uint64_t)session, (uint64_t)sequence, argc - 3, argv + 3);
}

static void command(struct pair *p, uint32_t argc, const struct bytes *argv)
{
    int64_t ms;

    if (resp_is(argv[0], "@at") && argc == 2 && resp_integer(argv[1], &ms) && ms >= 0 &&
        ms < AT_MS_MAX)
        p->time_us += (uint64_t)ms * 1000u;
    else if (resp_is(argv[0], "@tick"))
        execute(p, REQUEST_TIME, 0, 0, bytes_of(NULL, 0));
    else if (resp_is(argv[0], "@begin"))
        checkpoint_begin(p);
    else if (resp_is(argv[0], "@slice"))
        checkpoint_slice(p);
    else if (resp_is(argv[0], "@end"))
        checkpoint_end(p);
    else if (resp_is(argv[0], "multi"))
        p->queuing = true;
    else if (resp_is(argv[0], "exec"))
        transaction_end(p);
    else if (resp_is(argv[0], "once"))
        once(p, argc, argv);
    else
        service_command(p, 0, 0, argc, argv);
}

static void all_commands(struct pair *p, struct bytes input)
{
    struct resp_command_reader reader = { 0 };
    struct error error;
    size_t used;

    while (resp_read_command(&reader, input, &used, &error) == RESP_READY) {
        if (reader.argc > 0)
            command(p, reader.argc, reader.argv);
        (void)input_bytes(&input, used);
    }
    resp_command_reader_free(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pair p = { .time_us = FIRST_TIME_US };
    struct machine *other;

    p.machine = machine_new(kv_service());
    p.copy = machine_new(kv_service());
    p.backup = machine_new(kv_service());
    all_commands(&p, bytes_of(data, size));
    checkpoint_end(&p);
    /* And once more, beside one that knows it all from a checkpoint only. */
    other = machine_copy(p.machine);
    machine_free(p.copy);
    p.copy = other;
    all_commands(&p, bytes_of(data, size));
    checkpoint_end(&p);
    machine_free(p.machine);
    machine_free(p.copy);
    machine_free(p.backup);
    buffer_free(&p.commands);
    return 0;
}
