/* Can two engines ever both write, or leave a gap, while authority is handed over at one sequence number?
 *
 * One row is the resume token, the fence and the stop marker; fence, arm, disarm and flip are one statement each. What makes it hard is in here:
 *   - a COMMIT outlives its client: the backend executes it later, or never (the ghost)
 *   - the incumbent's program is started twice, by mistake (DOUBLE_START)
 *   - everybody acts on what they have read a while ago
 *   - clients die anywhere and start again
 *   - a candidate that is wrong from some event on
 * With SPLICES=2 the roles are swapped after the first, and the splice goes back.
 *
 * This is safety: never two writers, no event lost or doubled, each by the generation that owned its number. Progress is not in here yet.
 * Each guard can be dropped by name (spin -DNO_GENERATION ...); tests/splice/model.sh says what must then be found, and what is safe without it.
 */

#ifndef LAST
#define LAST 3    /* events 1..LAST */
#endif
#ifndef CRASHES
#define CRASHES 1 /* of anybody, in all */
#endif
#ifndef SPLICES
#define SPLICES 2 /* arms that succeed, in all: there and back, or again after a disarm */
#endif

#define GENERATIONS (SPLICES + 2)
#define NONE 255

/* --- the authority's row, and what commits with it --- */
byte generation = 1;
byte owner = 0;          /* engine 0 is the incumbent, 1 the candidate */
byte committed_seq = 0;
byte stop_at = 0;        /* 0: none */
byte successor = NONE;
byte splice_id = 0;      /* 0: none; never used twice */
byte next_splice = 1;
byte seam_s[GENERATIONS + 1];       /* first sequence number of a generation; 0: it never came */
bit  half_flipped = 0;   /* only where the flip is two steps */

/* --- what must hold --- */
byte applied[LAST + 1];  /* how often an event changed production */
byte by[LAST + 1];       /* which generation did */

/* --- the engines' shadows: how far each has folded for itself, and from where on it is wrong --- */
byte folded[2];
byte wrong_from = LAST + 1;  /* of engine 1; drawn at the start */
bit  running[2];

byte crashes = 0;

/* COMMITs on their way to the backend: generation, previous, new, who */
chan backend = [2] of { byte, byte, byte, byte };

/* May the events previous + 1 .. upto be committed by this generation? The one place that decides. */
#ifdef NO_GENERATION
#define same_generation(g) true
#else
#define same_generation(g) (generation == (g))
#endif
#ifdef NO_PREVIOUS
#define same_previous(p) true
#else
#define same_previous(p) (committed_seq == (p))
#endif
#ifdef NO_STOP
#define before_stop(n) true
#else
#define before_stop(n) (stop_at == 0 || (n) < stop_at)
#endif
#ifdef FLIP_ANYWHERE
#define at_seam true
#else
#define at_seam (committed_seq == stop_at - 1)
#endif
#ifdef NO_CATCH_UP
#define caught_up true
#else
#define caught_up (folded[successor] >= stop_at - 1)
#endif
#ifdef NO_DIGEST
#define chain_equal true
#else
#define chain_equal (successor == 0 || stop_at - 1 < wrong_from)
#endif
#ifdef ARM_BLIND
#define arm_ahead(s) true
#else
#define arm_ahead(s) (committed_seq < (s))
#endif

/* Whoever owned an event's number is who committed it: max(seq, g) = S - 1, min(seq, g + 1) = S; and each event is applied once, up to the token. */
byte a_i, a_g;
inline audit() {
  a_i = 1;
  do
  :: a_i <= LAST ->
     assert(applied[a_i] == (a_i <= committed_seq));
     if
     :: a_i <= committed_seq ->
        a_g = by[a_i];
        assert(a_g <= generation && seam_s[a_g] != 0 && seam_s[a_g] <= a_i);
        assert(a_g == generation || seam_s[a_g + 1] > a_i)
     :: else
     fi;
     a_i++
  :: else -> break
  od;
  a_i = 0; a_g = 0
}

/* The ghost: it takes a COMMIT whenever it likes, also of a client that is long gone, or loses it. */
active proctype Backend() {
  byte g, previous, upto, who, i;
end:
  do
  :: atomic { backend ? g, previous, upto, who ->
       if
       :: same_generation(g) && same_previous(previous) && before_stop(upto) ->
          assert(who == owner);  /* never two writers */
          i = previous + 1;
          do
          :: i <= upto -> applied[i]++; by[i] = g; i++
          :: else -> break
          od;
          committed_seq = upto;
          audit()
       :: else
       fi;
       i = 0; previous = 0; upto = 0; g = 0; who = 0 }
  :: atomic { crashes < CRASHES && nempty(backend) -> crashes++; backend ? g, previous, upto, who; g = 0; previous = 0; upto = 0; who = 0 }  /* died with its server */
  od
}

/* One statement; exactly one of those who try it wins. */
inline flip(id) {
#ifdef TWO_STEP_FLIP
  atomic {
    if
    :: id != 0 && splice_id == id && !half_flipped && at_seam && caught_up && chain_equal -> owner = successor; half_flipped = 1
    :: else
    fi
  };
  atomic {
    if
    :: half_flipped -> generation++; seam_s[generation] = stop_at; stop_at = 0; successor = NONE; splice_id = 0; half_flipped = 0; audit()
    :: else
    fi
  }
#else
  atomic {
    if
    :: id != 0 && splice_id == id && at_seam && caught_up && chain_equal ->
       assert(successor == 0 || stop_at - 1 < wrong_from);  /* a wrong candidate never takes over */
       assert(folded[successor] >= stop_at - 1);
       generation++; owner = successor; seam_s[generation] = stop_at;
       stop_at = 0; successor = NONE; splice_id = 0;
       audit()
    :: else
    fi
  }
#endif
}

inline disarm(id) {
  atomic {
    if
    :: id != 0 && splice_id == id -> stop_at = 0; successor = NONE; splice_id = 0
    :: else
    fi
  }
}

/* An engine: it folds the stream for itself, and where it owns the authority it commits. `copy` of one program do not know of each other. */
proctype Engine(byte me) {
  byte g, previous, upto, s, id, who, to;
  do
  :: /* reads the row: from here on all of it may be stale */
     atomic { g = generation; previous = committed_seq; s = stop_at; id = splice_id; who = owner; to = successor };
#ifdef EARLY_START
     /* takes the marker for the flip */
     if
     :: to == me && s != 0 && previous == s - 1 -> who = me
     :: else
     fi;
#endif
     if
     :: who == me && (s == 0 || previous < s - 1
#ifdef EARLY_START
        || to == me
#endif
       ) && previous < LAST ->
        /* a batch of one or two events; what spans the seam is split before it */
        if
        :: upto = previous + 1
        :: previous + 2 <= LAST -> upto = previous + 2
        fi;
        if
#ifndef EARLY_START
        :: s != 0 && upto > s - 1 -> upto = s - 1
#endif
        :: else
        fi;
        backend ! g, previous, upto, me
     :: who == me && s != 0 && previous == s - 1 && to != me ->
        /* at the seam: everybody may flip; the wait is bounded, and then the owner goes on */
        flip(id);
#ifndef NO_BOUND
        if
        :: disarm(id)
        :: true
        fi
#endif
     :: who != me && folded[me] >= s - 1 && s != 0 && to == me -> flip(id)
     :: previous == LAST -> break       /* the stream has ended */
     :: else
     fi;
     d_step {
       if
       :: who == me && folded[me] < previous -> folded[me] = previous  /* an owner's own state is its shadow when the roles are swapped */
       :: else
       fi;
       g = 0; previous = 0; upto = 0; s = 0; id = 0; who = 0; to = 0
     }
  :: atomic { owner != me && folded[me] < LAST -> folded[me]++ }  /* the stream goes on for a shadow too; it does not wait for production */
  od
}

/* The tool: arms for whoever does not own the authority, flips, and clears up what it finds of its own. */
active proctype Coordinator() {
  byte g, s, id, to, tries;
  do
  :: tries < SPLICES && next_splice <= SPLICES ->
     tries++;
     atomic { g = generation; to = 1 - owner; s = committed_seq + 1 };
     if
     :: s = s + 1
     :: true
     fi;
     if
     :: s > LAST -> goto next
     :: else
     fi;
     /* arm: one statement */
     atomic {
       if
       :: generation == g && stop_at == 0 && arm_ahead(s) ->
          stop_at = s; successor = to; splice_id = next_splice; id = next_splice; next_splice++
       :: else -> id = 0
       fi
     };
     if
     :: id != 0 ->
        do
        :: splice_id == id && committed_seq >= stop_at - 1 -> flip(id)
        :: disarm(id); break            /* its own deadline, or it was asked to abort */
        :: splice_id != id -> break     /* flipped or disarmed, whoever did it: it reads generation and seam */
        :: atomic { crashes < CRASHES -> crashes++; break }  /* what it armed is left behind */
        od
     :: else
     fi;
next: atomic { g = 0; s = 0; to = 0; id = 0 }
  :: else -> break
  od
}

init {
  atomic {
    seam_s[1] = 1;
    if
    :: wrong_from = LAST + 1
    :: wrong_from = 1
    :: wrong_from = 2
    fi;
    run Engine(0);
    run Engine(1);
#ifdef DOUBLE_START
    run Engine(0)
#endif
  }
}
