/* Can two engines ever both write, or leave a gap, while authority is handed over at one sequence number? And does the stream always go on?
 *
 * One row is the resume token, the fence and the stop marker; fence, arm, disarm and flip are one statement each, as in operate/splice.hpp. What makes it hard is in here:
 *   - a COMMIT outlives its client: the backend executes it later, or never (the ghost); so does an arm
 *   - a program is started twice, by mistake (DOUBLE_START)
 *   - everybody acts on what they have read a while ago
 *   - clients die anywhere and start again: nobody waits for an answer, and what an engine knows it reads anew
 *   - a candidate that is wrong at some event, or never comes
 * With SPLICES=2 the roles are swapped after the first, and the splice goes back.
 *
 * Safety is asserted where it could break; progress is the ltl formulas at the end. Each guard can be dropped by name (spin -DNO_GENERATION ...);
 * tests/splice/model.sh says what must then be found, and README.md what it shows.
 */

#ifndef LAST
#define LAST 3    /* events 1..LAST */
#endif
#ifndef CRASHES
#define CRASHES 1 /* of anybody, in all */
#endif
#ifndef SPLICES
#define SPLICES 2 /* tries to arm, in all: there and back, or again after a disarm */
#endif
#define WAITS 1   /* looks at the seam, after which the owner gives up */

#ifdef SUNNY      /* nobody dies, gives up or is wrong, and the candidate folds what it can */
#define NO_BOUND
#define HONEST    /* no candidate is wrong */
#endif

#define GENERATIONS (SPLICES + 2)
#define NONE 255

/* --- the authority's row, and what commits with it --- */
byte generation = 1;
byte owner = 0;          /* engine 0 is the incumbent, 1 the candidate */
byte committed_seq = 0;
byte stop_at = 0;        /* 0: none */
byte successor = NONE;
byte splice_id = 0;      /* 0: none */
byte arms = 0;           /* how often it was armed: arm is a compare-and-set of this */
byte seam_s[GENERATIONS + 1];  /* the seam rows: first sequence number of a generation; 0: it never came */
bit  half_flipped = 0;   /* only where the flip is two steps */

/* --- the candidate's chain at the seam, for one splice --- */
byte recorded_for = 0;
bit  recorded_equal = 0;

/* --- what must hold --- */
byte applied[LAST + 1];  /* how often an event changed production */
byte by[LAST + 1];       /* which generation did */
byte disarmed = 0;       /* the newest splice that was disarmed */
bit  production_wrong = 0;

/* --- the engines' shadows: how far each has folded for itself, and at which event engine 1 goes wrong --- */
byte folded[2];
byte wrong_at = LAST + 1;  /* drawn at the start */

byte crashes = 0;

/* COMMITs on their way to the backend: generation, previous, new, who */
chan backend = [2] of { byte, byte, byte, byte };
/* An arm on its way: its client has heard nothing, and has tried again */
bit late = 0;
byte late_generation, late_s, late_to, late_id, late_arms;

#define armed      (stop_at != 0)
#define confirmed  (generation > 1 && committed_seq >= seam_s[generation])
#define all_done   (committed_seq == LAST)
#define seam_ahead (stop_at == 0 || committed_seq < stop_at)

/* The fence: may the events previous + 1 .. upto be committed by this generation? */
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
/* The flip */
#ifdef FLIP_ANYWHERE
#define where_it_ends true
#else
#define where_it_ends (committed_seq == stop_at - 1)
#endif
#ifdef NO_CATCH_UP
#define chain_equal (recorded_for != splice_id || recorded_equal)
#else
#ifdef NO_DIGEST
#define chain_equal (recorded_for == splice_id)
#else
#define chain_equal (recorded_for == splice_id && recorded_equal)
#endif
#endif
/* Arm */
#ifdef ARM_BLIND
#define arm_ahead(s) true
#else
#define arm_ahead(s) (committed_seq < (s))
#endif
#ifdef ARM_AGAIN
#define arm_once(n) true
#else
#define arm_once(n) (arms == (n))
#endif

/* Whoever owned an event's number is who committed it: max(seq, g) = S - 1, min(seq, g + 1) = S; and each event is applied once, up to the token. */
hidden byte a_i, a_g;
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
  od
}

inline arm(g, s, to, id, n) {
  if
  :: generation == g && stop_at == 0 && arm_ahead(s) && owner != to && arm_once(n) ->
     assert(id > disarmed);  /* disarmed is final */
     stop_at = s; successor = to; splice_id = id; arms = n + 1
  :: else
  fi
}

inline disarm(id) {
  atomic {
    if
    :: id != 0 && splice_id == id -> stop_at = 0; successor = NONE; splice_id = 0; disarmed = id
    :: else
    fi
  }
}

/* One statement; exactly one of those who try it wins, and leaves one seam row. */
inline flip(id) {
#ifdef TWO_STEP_FLIP
  atomic {
    if
    :: id != 0 && splice_id == id && !half_flipped && where_it_ends && chain_equal -> owner = successor; half_flipped = 1
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
    :: id != 0 && splice_id == id && where_it_ends && chain_equal ->
       assert(folded[successor] >= stop_at - 1);
       assert(successor == 0 || wrong_at > stop_at - 1);  /* a wrong candidate never takes over */
       assert(successor == 1 || !production_wrong);       /* nor does one that is no longer equal */
       assert(seam_s[generation + 1] == 0);
       generation++; owner = successor; seam_s[generation] = stop_at;
       stop_at = 0; successor = NONE; splice_id = 0;
       audit()
    :: else
    fi
  }
#endif
}

/* The candidate's chain beside production's, for this splice and no other. */
inline record(id, s) {
  atomic {
    if
    :: splice_id == id && folded[me] == s - 1 ->
       recorded_for = id;
       recorded_equal = (me == 0 -> !production_wrong : wrong_at > s - 1)
    :: else
    fi
  }
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
          :: i <= upto ->
             applied[i]++; by[i] = g;
             if
             :: who == 1 && i == wrong_at -> production_wrong = 1
             :: else
             fi;
             i++
          :: else -> break
          od;
          committed_seq = upto;
          audit()
       :: else
       fi;
       i = 0; previous = 0; upto = 0; g = 0; who = 0 }
  :: atomic { crashes < CRASHES && nempty(backend) -> crashes++; backend ? g, previous, upto, who; g = 0; previous = 0; upto = 0; who = 0 }  /* died with its server */
  :: atomic { late -> late = 0; arm(late_generation, late_s, late_to, late_id, late_arms);
       late_generation = 0; late_s = 0; late_to = 0; late_id = 0; late_arms = 0 }
  od
}

#define foldable (owner != me && folded[me] < committed_seq)
#ifdef SUNNY
#define looks (!foldable)
#else
#define looks true
#endif

/* An engine: it folds the stream for itself, and where it owns the authority it commits. Copies of one program do not know of each other. */
proctype Engine(byte me) {
  byte g, previous, upto, s, id, who, to, waited;
  do
  :: /* reads the row: from here on all of it may be stale */
     atomic { looks -> g = generation; previous = committed_seq; s = stop_at; id = splice_id; who = owner; to = successor };
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
        /* commit: a batch of one or two events; what spans the seam is split before it */
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
        backend ! g, previous, upto, me  /* and does not wait for the answer: dead or not, it looks at the row */
     :: who == me && s != 0 && previous >= s - 1 && previous < LAST && to != me ->
        /* at_seam: everybody may flip; the wait is bounded, and then the owner goes on */
        flip(id);
#ifndef NO_BOUND
        if
        :: waited < WAITS -> waited++
        :: disarm(id); waited = 0
        fi
#endif
     :: who != me && to == me && s != 0 && folded[me] == s - 1 && recorded_for != id -> record(id, s)
     :: previous == LAST -> break       /* the stream has ended */
#ifndef SUNNY
     :: crashes < CRASHES && waited > 0 -> crashes++; waited = 0  /* died at the seam: it waits anew */
#endif
     :: else
     fi;
     d_step {
       if
       :: who == me && folded[me] < previous -> folded[me] = previous  /* an owner's own state is its shadow when the roles are swapped */
       :: else
       fi;
       if
       :: s == 0 -> waited = 0
       :: else
       fi;
       g = 0; previous = 0; upto = 0; s = 0; id = 0; who = 0; to = 0
     }
     /* a shadow folds on, up to production's token. It may also never */
  :: atomic { foldable -> folded[me]++ }
  od
}

/* The tool: arms for whoever does not own the authority, flips, and clears up what it finds of its own. */
active proctype Coordinator() {
  byte g, s, id, to, n;
  do
  :: id < SPLICES && committed_seq < LAST ->
     id++;
     atomic { g = generation; to = 1 - owner; s = committed_seq + 1; n = arms };
     if
     :: s = s + 1
     :: true
     fi;
     if
     :: s > LAST -> goto next
     :: else
     fi;
#ifndef SUNNY
     if
     :: atomic { crashes < CRASHES && !late -> crashes++;  /* no answer came: it is tried again, and the first may still come */
          late = 1; late_generation = g; late_s = s; late_to = to; late_id = id; late_arms = n }
     :: true
     fi;
#endif
     atomic { arm(g, s, to, id, n) };
     do
     :: splice_id == id -> flip(id)  /* it need not look where the owner is: the statement does */
#ifndef SUNNY
     :: disarm(id); break            /* its own deadline, or it was asked to abort */
     :: atomic { crashes < CRASHES -> crashes++; break }  /* what it armed is left behind */
#endif
     :: splice_id != id -> break     /* refused, flipped or disarmed, whoever did it: it reads generation and seam */
     od;
next: atomic { g = 0; s = 0; to = 0; n = 0 }
  :: else -> break
  od
}

init {
  atomic {
    seam_s[1] = 1;
#ifndef HONEST
    if
    :: wrong_at = LAST + 1
    :: wrong_at = 1
    :: wrong_at = 2
    fi;
#endif
    run Engine(0);
    run Engine(1);
#ifdef DOUBLE_START
    run Engine(0)
#endif
  }
}

/* --- progress: with weak fairness, and after finitely many crashes --- */

/* Whatever becomes of the splice, the stream goes on. */
ltl goes_on { <> all_done }

/* No marker is left behind: flipped or disarmed. */
ltl ends { [] (armed -> <> !armed) }

/* No seam is ever passed: behind it no flip can come. */
ltl ahead { [] seam_ahead }

/* Under SUNNY: what is armed is flipped, and the candidate commits. */
ltl completes { [] (armed -> <> confirmed) }
