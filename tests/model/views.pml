/* views - the view protocol of DESIGN.md sections 3 and 5, for spin: three servers with journals in
 * memory, the rm with its stored views, and whatever can go wrong between them. What is left out,
 * and why that is no loss, is in README.md.
 *
 *     -DMAJORITY   acks = majority (else all)
 *     -DVIEWS=n -DENTRIES=n -DCRASHES=n -DRESTARTS=n   how much happens
 *     -DMUTANT_…   one rule is broken: an assertion must fail
 *     -DREACH      the best of all ends is denied: the assertion must fail
 *
 * All steps stand in one process: each takes one message in, as a server or the rm does, and is
 * atomic. A message that is under way is one whose step has not been taken yet. */

#ifndef VIEWS
#define VIEWS 3     /* the first one and those after it */
#endif
#ifndef ENTRIES
#define ENTRIES 1   /* writes of clients */
#endif
#ifndef CRASHES
#define CRASHES 2   /* of servers */
#endif
#ifndef RESTARTS
#define RESTARTS 1  /* of the rm */
#endif

#define SERVERS 3
#define LENGTH  (VIEWS + ENTRIES)

/* An entry tells its view, and which write it is: 0 is the first entry of a view. */
#define ENTRY(v, id)  ((v) * 4 + (id))
#define VIEW_OF(e)    ((e) / 4)

/* ---------------------------------------------------------------- servers */

byte incarnation[SERVERS];
byte promised[SERVERS];
byte view[SERVERS];                 /* 0: none yet */
byte length[SERVERS];
byte journal[SERVERS * LENGTH];
#define AT(s, i)         journal[(s) * LENGTH + (i)]
#define LAST_VIEW(s)     (length[s] == 0 -> 0 : VIEW_OF(AT(s, length[s] - 1)))

/* What the primary of acked_view has heard of a server. */
byte acked_view[SERVERS];
byte acked_index[SERVERS];
byte acked_incarnation[SERVERS];

#ifdef MUTANT_HALF_ADOPTED
byte touched[SERVERS];              /* the view in which it was last sent something */
#define JOURNAL_VIEW(s)  (touched[s] > LAST_VIEW(s) -> touched[s] : LAST_VIEW(s))
#else
#define JOURNAL_VIEW(s)  LAST_VIEW(s)
#endif

/* The journal of s agrees with that of p, and goes to the first entry of their view at least. The
 * caller has made `match` the length of what they have in common. */
#define HOLDS_START(s, p)  (match + 1 == length[s] && AT(s, match) == AT(p, match) && \
                            VIEW_OF(AT(p, match)) == view[p])

#ifdef MUTANT_NO_FENCE
#define IS_FENCED(s)     false
#else
#define IS_FENCED(s)     (promised[s] > view[s])
#endif

/* ---------------------------------------------------------------- views, by number */

byte members[VIEWS + 1];            /* 0: never issued */
byte lives[(VIEWS + 1) * SERVERS];  /* incarnations of the members */
byte primary[VIEWS + 1];
byte acks[VIEWS + 1];
#define HAS(set, i)            (((set) >> (i)) & 1)
#define LIFE(v, s)             lives[(v) * SERVERS + (s)]
#define IS_MEMBER(v, s, life)  (HAS(members[v], s) && LIFE(v, s) == (life))
#define COUNT(set)             (HAS(set, 0) + HAS(set, 1) + HAS(set, 2))
#ifdef MAJORITY
#define ACKS(count)            ((count) / 2 + 1)
#else
#define ACKS(count)            (count)
#endif

#define IS_PRIMARY(s)  (view[s] > 0 && primary[view[s]] == s && \
                        LIFE(view[s], s) == incarnation[s])

/* ---------------------------------------------------------------- the rm */

byte current;                       /* the last view issued */
byte history;                       /* set of the views that elections look at */
byte stored_current;                /* as in its store */
byte stored_history;
byte number;                        /* of the last fence */
bool fencing;
byte reported;                      /* set of servers */
byte report_life[SERVERS];
byte report_view[SERVERS];
byte report_length[SERVERS];

/* ---------------------------------------------------------------- what is checked, and limits */

byte committed[LENGTH];             /* for ever */
byte committed_in[LENGTH];          /* in the view of that number */
byte committed_length;
byte activated;                        /* set of views whose first entry is committed */
byte led;                           /* set of views that somebody entered as primary */
byte entries, crashes, restarts;

hidden byte i, k, w, votes, match, chosen;
hidden byte may;

#define HOLDS(q, p) \
    assert(!IS_PRIMARY(q) || view[q] <= view[p] || (i < length[q] && AT(q, i) == AT(p, i)));

/* Commits what enough members have acknowledged; only as of an entry of this view (rule 5). */
inline commit(p)
{
    k = (IS_FENCED(p) -> 0 : length[p]);
    do
    :: k > 0 && VIEW_OF(AT(p, k - 1)) == view[p] ->
        votes = 1;
        i = 0;
        do
        :: i < SERVERS ->
            if
            :: i != p && HAS(members[view[p]], i) && acked_view[i] == view[p] &&
               acked_index[i] >= k -> votes++
            :: else
            fi;
            i++
        :: else -> break
        od;
        if
        :: votes >= acks[view[p]] -> break
        :: else -> k--
        fi
    :: else -> k = 0; break
    od;
    i = 0;
    do
    :: i < SERVERS && k > 0 ->
        /* Rule 3: who counted is a member, under its incarnation. */
        assert(i == p || acked_view[i] != view[p] ||
               IS_MEMBER(view[p], i, acked_incarnation[i]));
        i++
    :: else -> break
    od;
    i = 0;
    do
    :: i < k ->
        /* An index has one committed entry for ever, and primaries of later views hold it. */
        assert(i >= committed_length || committed[i] == AT(p, i));
        HOLDS(0, p) HOLDS(1, p) HOLDS(2, p)
        committed_in[i] = (i < committed_length -> committed_in[i] : view[p]);
        committed[i] = AT(p, i);
        activated = activated | (AT(p, i) % 4 == 0 && VIEW_OF(AT(p, i)) == view[p] -> 1 << view[p] : 0);
        i++
    :: else -> break
    od;
    committed_length = (k > committed_length -> k : committed_length)
}

inline append(s, entry)
{
    AT(s, length[s]) = entry;
    length[s]++
}

/* Keeps the first `count` entries. */
inline truncate(s, count)
{
    do
    :: length[s] > count -> length[s]--; AT(s, length[s]) = 0
    :: else -> break
    od;
    i = 0
}

/* Rule 1: one primary for a number. Rule 4: it holds all that was committed in views before. */
inline lead(s)
{
    assert(!HAS(led, view[s]));
    led = led | (1 << view[s]);
    i = 0;
    do
    :: i < committed_length ->
        assert(committed_in[i] >= view[s] || (i < length[s] && AT(s, i) == committed[i]));
        i++
    :: else -> break
    od;
    append(s, ENTRY(view[s], 0));
    commit(s)
}

inline enter(s, v)
{
    view[s] = v;
    promised[s] = v;
    if
    :: IS_PRIMARY(s) -> lead(s)
    :: else
    fi
}

/* A backup or joiner takes in the next entry of its primary: only what conflicts is truncated. */
inline follow(s, p)
{
    match = 0;
    do
    :: match < length[s] && match < length[p] && AT(s, match) == AT(p, match) -> match++
    :: else -> break
    od;
    /* Journals that agree on the view of an index agree on its entry. */
    assert(match == length[s] || match == length[p] ||
           VIEW_OF(AT(s, match)) != VIEW_OF(AT(p, match)));
    truncate(s, match);
    append(s, AT(p, match));
#ifdef MUTANT_HALF_ADOPTED
    touched[s] = view[s];
#endif
    /* Rule 5: it is of this view only with all that the primary held at the view's start. */
    assert(JOURNAL_VIEW(s) != view[s] || HOLDS_START(s, p));
    if
    :: LAST_VIEW(s) == view[s] &&
#ifdef MUTANT_COUNT_JOINERS
       HAS(members[view[s]], s) ->
#else
       IS_MEMBER(view[s], s, incarnation[s]) ->
#endif
        acked_view[s] = view[s];
        acked_index[s] = length[s];
        acked_incarnation[s] = incarnation[s];
        commit(p)
    :: else
    fi
}

/* It loses all it had, and is back at once: a server that stays away is one that does nothing. */
inline crash(s)
{
    crashes++;
    incarnation[s]++;
    promised[s] = stored_current;   /* a new link brings nothing older */
    view[s] = 0;
#ifdef MUTANT_HALF_ADOPTED
    touched[s] = 0;
#endif
    truncate(s, 0)
}

#ifdef MUTANT_ANY_LIFE
#define COUNTS(v, s)  (HAS(reported, s) && HAS(members[v], s))
#else
#define COUNTS(v, s)  (HAS(reported, s) && IS_MEMBER(v, s, report_life[s]))
#endif

/* may: the report of the server counts for a view of the history. */
inline find_candidate(s)
{
    may = false;
    w = 1;
    do
    :: w <= VIEWS -> may = may || (HAS(history, w) && COUNTS(w, s)); w++
    :: else -> break
    od
}

/* What a fenced server held is a fact also after its death: it is not replaced by the report of a
 * life that counts for nothing. */
inline report(s)
{
    promised[s] = number;
    find_candidate(s);
    if
    :: !may ->
        reported = reported | (1 << s);
        report_life[s] = incarnation[s];
        report_view[s] = JOURNAL_VIEW(s);
        report_length[s] = length[s]
    :: else
    fi
}

#ifdef MUTANT_LENGTH_ONLY
#define OUTRANKS(a, b)  (report_length[a] > report_length[b])
#else
#define OUTRANKS(a, b)  (report_view[a] > report_view[b] || \
                         (report_view[a] == report_view[b] && report_length[a] > report_length[b]))
#endif

/* may: rule 4 lets the server lead. */
inline elect(s)
{
    find_candidate(s);
    w = (report_view[s] > 1 -> report_view[s] : 1);
    do
    :: w <= VIEWS && may ->
        if
        :: HAS(history, w) ->
            votes = 0;
            i = 0;
            do
            :: i < SERVERS ->
                votes = votes + (COUNTS(w, i) && !OUTRANKS(i, s) -> 1 : 0);
                i++
            :: else -> break
            od;
            may = votes + acks[w] >= COUNT(members[w]) + 1
        :: else
        fi;
        w++
    :: else -> break
    od
}

inline forget()
{
    fencing = false;
    reported = 0;
    i = 0;
    do
    :: i < SERVERS -> report_life[i] = 0; report_view[i] = 0; report_length[i] = 0; i++
    :: else -> break
    od;
    i = 0
}

/* The next view, led by s: those who reported and are members of the present one; of the others,
 * those chosen. Views above what the leader holds can never have been active. */
inline issue(s)
{
    assert(members[number] == 0);   /* rule 1: no number twice */
    i = 0;
    w = 0;
    do
    :: i < SERVERS ->
        w = w | (i == s || (HAS(reported, i) &&
                            (IS_MEMBER(current, i, report_life[i]) || HAS(chosen, i)))
                 -> 1 << i : 0);
        LIFE(number, i) = (HAS(w, i) -> report_life[i] : 0);
        i++
    :: else -> break
    od;
    members[number] = w;
    acks[number] = ACKS(COUNT(w));
    primary[number] = s;
#ifdef MUTANT_NO_HISTORY
    history = 1 << number;
#else
    history = (history & ((2 << report_view[s]) - 1)) | (1 << number);
#endif
    current = number;
    forget()
}

inline store()
{
    stored_current = current;
    stored_history = history
}

#ifdef MUTANT_SEND_FIRST
#define STORE_AT_ONCE
#else
#define STORE_AT_ONCE   store();
#endif

/* Its life is one that some view counts on. */
#define NAMED(v, s)  (v <= VIEWS && IS_MEMBER(v, s, incarnation[s]))
#define MATTERS(s)   (NAMED(1, s) || NAMED(2, s) || NAMED(3, s) || NAMED(4, s) || NAMED(5, s))

/* A view that can be on its way to the server. */
#define CAN_ENTER(s, v) ((v) <= VIEWS && (members[v] & 7) != 0 && promised[s] <= (v) && view[s] < (v))

#define SWAP(x, y)  k = x; x = y; y = k
#define SWAP_BITS(set, a, b) \
    set = (set & ~((1 << (a)) | (1 << (b)))) | (HAS(set, a) << (b)) | (HAS(set, b) << (a))

/* Names do not matter: servers are renamed so that they stand in the order of what they are. */
#define RANK(s) \
    (length[s] + 8 * (view[s] + 8 * (promised[s] + 8 * (incarnation[s] + 4 * (AT(s, 0) + 32 * (\
     AT(s, 1) + 32 * (HAS(members[current], s) + 2 * ((primary[current] == s) + 2 * ( \
     HAS(reported, s) + 2 * (acked_index[s])))))))))) 

inline order(a, b)
{
    if
    :: RANK(a) > RANK(b) ->
        SWAP(incarnation[a], incarnation[b]);
        SWAP(promised[a], promised[b]);
        SWAP(view[a], view[b]);
        SWAP(length[a], length[b]);
        SWAP(acked_view[a], acked_view[b]);
        SWAP(acked_index[a], acked_index[b]);
        SWAP(acked_incarnation[a], acked_incarnation[b]);
        SWAP(report_life[a], report_life[b]);
        SWAP(report_view[a], report_view[b]);
        SWAP(report_length[a], report_length[b]);
#ifdef MUTANT_HALF_ADOPTED
        SWAP(touched[a], touched[b]);
#endif
        SWAP_BITS(reported, a, b);
        w = 0;
        do
        :: w < LENGTH -> SWAP(AT(a, w), AT(b, w)); w++
        :: else -> break
        od;
        w = 1;
        do
        :: w <= VIEWS ->
            SWAP(LIFE(w, a), LIFE(w, b));
            SWAP_BITS(members[w], a, b);
            primary[w] = ((members[w] & 7) == 0 -> 0 :
                          (primary[w] == a -> b : (primary[w] == b -> a : primary[w])));
            w++
        :: else -> break
        od
    :: else
    fi
}

/* Forgets what can have no effect any more, so that configurations that differ in nothing else are
 * one: acknowledgements to who is no primary any more, views that nobody is in or can enter and
 * that no election looks at. */
inline tidy()
{
    i = 0;
    do
    :: i < SERVERS ->
        if
        :: acked_view[i] > 0 &&
           (view[primary[acked_view[i]]] != acked_view[i] ||
            IS_FENCED(primary[acked_view[i]])) ->
            acked_view[i] = 0;
            acked_index[i] = 0;
            acked_incarnation[i] = 0
        :: else
        fi;
        i++
    :: else -> break
    od;
    w = 1;
    do
    :: w <= VIEWS && w < stored_current ->
        if
        :: (members[w] & 7) != 0 && !HAS(history | stored_history, w) && current != w &&
           view[0] != w && view[1] != w && view[2] != w &&
           !CAN_ENTER(0, w) && !CAN_ENTER(1, w) && !CAN_ENTER(2, w) ->
            members[w] = 8;
            acks[w] = 0;
            primary[w] = 0;
            LIFE(w, 0) = 0;
            LIFE(w, 1) = 0;
            LIFE(w, 2) = 0
        :: else
        fi;
        w++
    :: else -> break
    od;
    activated = activated & (history | stored_history);
    order(0, 1);
    order(1, 2);
    order(0, 1);
    w = 0;
    i = 0;
    k = 0
}

#define STEPS_OF(s)                                                                               \
    /* a view comes in */                                                                         \
    :: d_step { CAN_ENTER(s, 1) -> enter(s, 1); tidy() }                  \
    :: d_step { CAN_ENTER(s, 2) -> enter(s, 2); tidy() }    \
    :: d_step { CAN_ENTER(s, 3) -> enter(s, 3); tidy() }    \
    :: d_step { CAN_ENTER(s, 4) -> enter(s, 4); tidy() }    \
    :: d_step { CAN_ENTER(s, 5) -> enter(s, 5); tidy() }    \
    /* an entry comes in */                                                                       \
    :: d_step { view[s] > 0 && !IS_FENCED(s) && primary[view[s]] != s &&                          \
                view[primary[view[s]]] == view[s] && IS_PRIMARY(primary[view[s]]) &&              \
                (LAST_VIEW(s) != view[s] || length[s] < length[primary[view[s]]]) ->              \
                follow(s, primary[view[s]]); tidy() }                                                     \
    /* a client writes */                                                                         \
    :: d_step { entries < ENTRIES && IS_PRIMARY(s) && !IS_FENCED(s) ->                            \
                entries++; append(s, ENTRY(view[s], entries)); commit(s); tidy() }                        \
    /* the fence comes in, and the report to the rm */                                            \
    :: d_step { fencing && promised[s] <= number && view[s] < number &&                           \
                !(HAS(reported, s) && report_life[s] == incarnation[s]) -> report(s); tidy() }            \
    :: d_step { crashes < CRASHES && MATTERS(s) -> crash(s); tidy() }                                                   \
    /* the rm has enough reports to let it lead */                                                \
    :: atomic { fencing && HAS(reported, s) && report_life[s] > 0 ->                              \
                d_step { elect(s) };                                                              \
                if                                                                                \
                :: may -> if :: chosen = 0 :: chosen = 7 fi;                                      \
                          d_step { issue(s); STORE_AT_ONCE tidy(); chosen = 0; may = false }              \
                :: else                                                                           \
                fi }

active proctype cluster()
{
    d_step {
        i = 0;
        do
        :: i < SERVERS -> incarnation[i] = 1; LIFE(1, i) = 1; i++
        :: else -> break
        od;
        members[1] = 7;
        acks[1] = ACKS(3);
        current = 1;
        number = 1;
        history = 1 << 1;
        store()
    }
    do
    STEPS_OF(0)
    STEPS_OF(1)
    STEPS_OF(2)
    /* For whatever reason (a death, true or not, an accusation, a wish, a change that an rm
     * before it left behind) the rm begins a change. */
    :: d_step { !fencing && number < VIEWS -> forget(); number++; fencing = true }
#ifdef MUTANT_SEND_FIRST
    :: d_step { stored_current != current -> store(); tidy() }
#endif
    /* The primary of the current view, or of an earlier one, says that its view is active. */
    :: d_step { (activated & history) > 0 ->
                w = VIEWS;
                do
                :: !HAS(activated & history, w) -> w--
                :: else -> break
                od;
                history = history & ~((1 << w) - 1);
                tidy() }
    /* The rm comes back with what it stored: its last fence is forgotten. */
    :: d_step { restarts < RESTARTS && (fencing || current != stored_current ||
                history != stored_history) ->
                restarts++;
                current = stored_current;
                history = stored_history;
                number = stored_current;
                forget();
                tidy() }
#ifdef REACH
    :: d_step { HAS(activated, VIEWS) && crashes == CRASHES && restarts == RESTARTS &&
                entries == ENTRIES && committed_length == LENGTH -> assert(false) }
#endif
    od
}
