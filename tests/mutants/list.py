"""The sabotages: each takes one rule out of a copy of the sources, by replacing a text or two.

A text must be found exactly once, so that a mutant whose code has moved on says so, and does not
pass for one that is found. `breaks` says what no longer holds; the number is that of the safety
rule in the design, which the folders' READMEs explain."""

import collections

Mutant = collections.namedtuple("Mutant", "name breaks changes options")


def mutant(name, breaks, *changes, options=()):
    """Each change is a file, a text and what takes its place, one after another; options are the
    simulator's, for what only some clusters can show."""
    assert changes and len(changes) % 3 == 0
    return Mutant(name, breaks, [changes[i:i + 3] for i in range(0, len(changes), 3)], options)


COMMIT = "server/replica_commit.c"
ENTRIES = "server/replica_entries.c"
FEED = "server/replica_feed.c"
FOLLOW = "server/replica_follow.c"
SERVER_VIEWS = "server/replica_views.c"
REQUESTS = "server/server_requests.c"
CHANGE = "rm/view_change.c"
ELECTION = "rm/election.c"
DETECTOR = "lfd/detector.c"
MEMBERSHIP = "gfd/membership.c"
CHECKPOINTS = "server/server_checkpoints.c"

MUTANTS = [
    mutant("acknowledge-unsaved", "saved before acknowledged", FOLLOW,
           "r->saved_index < r->verified_index ? r->saved_index : r->verified_index;",
           "r->verified_index;"),
    mutant("acknowledge-unverified", "3: only a journal equal to the primary's counts", FOLLOW,
           "r->saved_index < r->verified_index ? r->saved_index : r->verified_index;",
           "r->saved_index;"),
    mutant("count-another-life", "3, 8: an acknowledgement is of one incarnation",
           COMMIT,
           "if (!members_has(&r->view.members, NODE_SERVER(i), p->incarnation) ||"
           " feed_lacks_state(p))",
           "if (feed_lacks_state(p))",
           FEED,
           "if (p->joiner || p->incarnation != position->incarnation)\n"
           "        p->match_index = p->stamp = 0;",
           ""),
    mutant("count-without-state", "3: a member without a state holds nothing yet", FOLLOW,
           "if (r->role == ROLE_BACKUP && (!r->whole || r->unmarked))\n        ack.ack.index = 0;",
           "",
           COMMIT,
           "p->incarnation) || feed_lacks_state(p))",
           "p->incarnation))"),
    mutant("commit-on-fewer", "a committed entry is held by acks members", COMMIT,
           "return sorted[r->view.acks - 1];",
           "return sorted[r->view.acks > 1 ? r->view.acks - 2 : 0];"),
    mutant("commit-older-view", "5: only entries of the present view are counted", COMMIT,
           "if (commit < r->view_start || commit <= r->commit_index)",
           "if (commit <= r->commit_index)"),
    mutant("commit-unsaved", "saved before committed, by the primary too", COMMIT,
           "values[self_index(r)] = r->saved_index;\n    commit =",
           "values[self_index(r)] = r->last_index;\n    commit ="),
    mutant("forget-lease-wait", "section 6: the old primary's lease has run out", COMMIT,
           "if (!is_primary(r) || !instant_reached(now, r->lease_wait))",
           "if (!is_primary(r))"),
    mutant("read-after-lease", "section 6: reads are answered within the lease", COMMIT,
           "return stamp && stamp + lease_ns > now.ns;",
           "return stamp && lease_ns;"),
    mutant("lease-from-answer", "section 6: a lease counts from when the append was sent", COMMIT,
           "p->stamp = ack->stamp;",
           "p->stamp = now.ns;"),
    mutant("lease-not-reported", "section 6: a report carries the lease granted", SERVER_VIEWS,
           ": (uint32_t)((lease_left + 999) / 1000),",
           ": (uint32_t)(lease_left / UINT32_MAX),"),
    mutant("lease-young", "section 6: an earlier life may have granted a lease", SERVER_VIEWS,
           "instant_since_ms(now, r->started) < r->options.lease_ms;",
           "r->options.lease_ms == 0 && instant_since_ms(now, r->started);"),
    mutant("skip-fence", "2: a promised view refuses those below", SERVER_VIEWS,
           "        r->promised = number;\n        r->forwarding = false;",
           "        r->forwarding = false;"),
    mutant("adopt-early", "5: journal_view is of a whole journal", ENTRIES,
           "return r->whole ? r->runs[r->run_count - 1].view : 0;",
           "return !r->whole ? 0 : r->verified_index ? r->view.number"
           " : r->runs[r->run_count - 1].view;"),
    mutant("forward-again", "exactly once: what is in the journal is not forwarded again", FOLLOW,
           "r->role == ROLE_PRIMARY ||\n        r->verified_index < r->sync_index)",
           "r->role == ROLE_PRIMARY)"),
    mutant("join-without-state", "a joiner is taken in with its state", COMMIT,
           "if (feed_lacks_state(p) || executed_index < p->state_index || !near || !r->serving ||",
           "if (!near || !r->serving ||"),
    mutant("truncate-committed", "6: only what conflicts is cut, and nothing committed", FOLLOW,
           "if (index < r->first_index || replica_view_at(r, index) == header.view)",
           "if (index < r->first_index)",
           FOLLOW,
           "            if (index <= r->commit_index) {\n",
           "            if (index == UINT64_MAX) {\n"),
    mutant("execute-uncommitted", "7: nothing is executed that is not committed", REQUESTS,
           "return has_state(s) && r->executed_index < r->commit_index &&",
           "return has_state(s) &&"),
    mutant("refuse-falsely", "TRYAGAIN means certainly not executed", REQUESTS,
           "if (request->state == PENDING_HELD || is_read(request->kind))\n"
           "            complete_text(s, request, OUTCOME_NOT_EXECUTED,",
           "if (request->state != PENDING_READING)\n"
           "            complete_text(s, request, OUTCOME_NOT_EXECUTED,"),
    mutant("apply-late-round", "a state never goes back", CHECKPOINTS,
           "(s->replica.role == ROLE_PRIMARY || t->begin.index <= s->replica.executed_index ||\n"
           "            !fits(&t->begin, s->replica.executed_index));",
           "s->replica.executed_index == UINT64_MAX;",
           options=("--style", "passive")),
    mutant("repeat-executes", "9: a sequence is executed once", "server/machine.c",
           "else if (known && entry->sequence == last)\n"
           "        buffer_append(reply, remembered.data, remembered.size);",
           "else if (known && entry->sequence == last)\n        return true;"),
    mutant("checkpoint-without-sessions", "9: sessions are part of every checkpoint",
           "server/machine.c",
           "        if (!m->service->checkpoint_slice(m->state, budget, out))\n"
           "            m->checkpoint = CHECKPOINT_SESSIONS;",
           "        if (!m->service->checkpoint_slice(m->state, budget, out))\n"
           "            m->checkpoint = CHECKPOINT_LIMITS;"),
    mutant("restore-unchecked-session", "9: a restored session is the one that was read out",
           "server/sessions.c",
           "put(out, r->sequence, 8);",
           "put(out, r->sequence - (r->sequence > 1), 8);"),
    mutant("elect-on-fewer", "4: members - acks + 1 reports", ELECTION,
           "members_count(&view->members) - view->acks + 1u, have = 0;",
           "members_count(&view->members) - view->acks, have = 0;"),
    mutant("another-life-counts", "4, 8: a restarted server lacks what it had in memory", ELECTION,
           "if (!e->persistent || !(view->members.set >> node_index(server) & 1u))\n"
           "        return false;",
           "if (view->members.set >> node_index(server) & 1u)\n        return true;"),
    mutant("reuse-number", "1: view numbers are never reused", CHANGE,
           "largest(v->number_max, v->roster->promised_max, v->roster->view_max) + 1;",
           "largest(v->number_max, 0, 0) + (v->number_max == 0);"),
    mutant("send-before-store", "1: a view is stored before it is sent", CHANGE,
           "    saved_store(saved, out);\n"
           "    effects_note(out, \"view %llu stored\", (unsigned long long)plan->view.number);\n"
           "    for (uint32_t i = 0; i < v->options.server_count; i++)\n"
           "        if (v->roster->server[i].linked)\n"
           "            change_send_view(v, i, out);",
           "    for (uint32_t i = 0; i < v->options.server_count; i++)\n"
           "        if (v->roster->server[i].linked)\n"
           "            change_send_view(v, i, out);\n"
           "    saved_store(saved, out);"),
    mutant("forget-inactive-views", "4: views that may have committed are asked for", CHANGE,
           "    keep_history(saved, plan->void_above);\n",
           "    keep_history(saved, plan->void_above);\n    saved->view_count = 0;\n"),
    mutant("host-certainly-dead", "a silent host's death is uncertain: leases are waited for",
           MEMBERSHIP,
           "    message.membership.certain = certain;",
           "    message.membership.certain = certain || true;"),
    mutant("elect-by-length", "4: the view of a journal comes before its length", ELECTION,
           "    if (a->journal_view != b->journal_view)\n"
           "        return a->journal_view < b->journal_view ? -1 : 1;\n",
           ""),
    mutant("tell-before-kill", "a suspicion is made true before it is told", DETECTOR,
           "snprintf(w->cause, sizeof w->cause, \"%s\", cause->cause);\n",
           "snprintf(w->cause, sizeof w->cause, \"%s\", cause->cause);\n"
           "    tell_delete(d, w, w->incarnation, true, out);\n"),
    mutant("vouch-for-the-past", "what was saved before a truncation is not what is there now",
           "server/server_disk.c",
           "    if (epoch == s->epoch)\n        replica_saved(",
           "    if (epoch <= s->epoch)\n        replica_saved("),
    mutant("pending-without-end", "every queue has a limit", REQUESTS,
           "if (s->pending.count && s->pending.bytes + request->request.size >"
           " s->options.pending_bytes_max)",
           "if (s->pending.count > UINT32_MAX - 1u)"),
    mutant("saved-though-cut", "what is truncated is not saved any more", ENTRIES,
           "    if (r->saved_index > index)\n        r->saved_index = index;\n",
           ""),
    mutant("lease-without-drift", "section 6: clocks differ in rate", COMMIT,
           "#define LEASE_DRIFT_PERCENT 1u",
           "#define LEASE_DRIFT_PERCENT 0u"),
    mutant("ack-before-complete", "8: the next life speaks for what this one acknowledged",
           "server/replica_follow.c",
           "if (r->role == ROLE_BACKUP && (!r->whole || r->unmarked))",
           "if (r->role == ROLE_BACKUP && !r->whole)"),
    mutant("empty-disk-counts", "8: a disk that lacks something has no voice", ELECTION,
           "    return report->intact ||\n",
           "    return true ||\n"),
    mutant("primary-of-another-life", "4: alone, a primary answers in the life that led", ELECTION,
           "           members_has(&view->members, view->primary, report->incarnation) &&\n",
           "           election_counts(e, view->primary, view) &&\n"),
    mutant("cut-counts", "4: where a tail was cut one more has to report", ELECTION,
           "    return report->cut && !members_has",
           "    return report->cut && report->incarnation == 0 && !members_has"),
    mutant("active-too-early", "5: a view is active when its first entry is committed", "rm/view.c",
           "    if (v->first_index)\n        return m->commit_index >= v->first_index;\n",
           "    if (v->first_index)\n        return true;\n"),
    mutant("acks-in-place", "11: acks change with a view, not within one", "rm/view_operator.c",
           "    v->saved->wanted = wanted;\n",
           "    v->saved->wanted = wanted;\n"
           "    if (current)\n"
           "        v->saved->views[v->saved->view_count - 1].acks =\n"
           "            (uint8_t)view_policy_acks(&wanted, members_count(&current->members));\n"),
    mutant("journal-without-end", "every queue has a limit", CHECKPOINTS,
           "journal_drop(&s->journal, limit, s->options.journal_bytes_max);",
           "journal_drop(&s->journal, limit, UINT64_MAX);"),
    mutant("slices-without-window", "every queue has a limit", "server/transfer.c",
           "if (t->receivers >> i & 1u && t->sent - t->acked[i] >= SLICE_WINDOW)",
           "if (t->receivers >> i & 1u && t->sent - t->acked[i] >= UINT32_MAX)"),
    mutant("checkpoint-of-two-times", "a checkpoint is of one entry",
           "server/services/kv_checkpoint.c",
           "    if (c->db != store->db || c->complete)\n        return;\n    if (c->groups)",
           "    if (c->db)\n        return;\n    if (c->groups)"),
    mutant("own-clock", "10: time comes with the entry", REQUESTS,
           ".time_us = record->time_us,",
           ".time_us = s->wall_us > record->time_us ? s->wall_us : record->time_us,"),
    mutant("forward-of-any-view", "exactly once: a forward of another view is sent again", REQUESTS,
           "if (message->forward.view != s->replica.view.number ||\n"
           "        replica_way(&s->replica) != REPLICA_APPEND)",
           "if (replica_way(&s->replica) != REPLICA_APPEND)"),
    mutant("backup-reads", "reads are linearizable on every server", REQUESTS,
           "bool stale = request->stale && executes(s)",
           "bool stale = executes(s)"),
    mutant("read-without-round", "section 6: without a lease a read waits for a round", COMMIT,
           "quorum_stamp(r, now) >= arrived.ns)",
           "quorum_stamp(r, now) > 0)"),
    mutant("read-before-own-write", "requests of a connection take effect in order", REQUESTS,
           "    if (written > s->replica.executed_index && written <= s->replica.last_index)\n"
           "        return s->replica.last_index;\n",
           ""),
    mutant("read-overtaken", "requests of a connection take effect in order", REQUESTS,
           "s->stream_done[stream_place_of(request->stream)] > request->token;",
           "s->stream_done[stream_place_of(request->stream)] == UINT64_MAX;"),
    mutant("write-overtaken", "requests of a connection take effect in order", REQUESTS,
           "        else if (request->state != PENDING_READING && *found)\n",
           "        else if (request->state == PENDING_FREE && *found)\n"),
    mutant("evict-without-trace", "9: what an evicted session asked for is not done again",
           "server/sessions.c",
           "    if (s->oldest_live->sequence > s->floor)\n"
           "        s->floor = s->oldest_live->sequence;\n",
           ""),
    mutant("retry-as-new", "9: a session sends again under the same sequence", "client/session.c",
           "    if (!sent)\n        return;\n",
           "    if (!sent)\n        return;\n    s->sequence += s->call.once;\n"),
    mutant("bury-and-forget", "who is dead is no member again", MEMBERSHIP,
           "    if (delete->incarnation == 0 ||"
           " members_has(&m->claimed, delete->server, delete->incarnation))\n"
           "        members_drop(&m->claimed, delete->server);\n",
           ""),
    mutant("own-sleep-is-silence", "a detector that wakes up late accuses nobody", DETECTOR,
           "late_ms <= lateness_ms_max(", "late_ms <= UINT64_MAX || late_ms <= lateness_ms_max("),
    mutant("drop-unsaved", "what the disk has not got yet stays in memory", CHECKPOINTS,
           "    if (s->options.persistent && r->saved_index < limit)\n"
           "        limit = r->saved_index;\n",
           ""),
    mutant("trust-old-store", "4: an old store is known by what servers say", "rm/plan.c",
           "    return current && v->roster->view_max > current->number;",
           "    return current && v->roster->view_max == UINT64_MAX;"),
]
