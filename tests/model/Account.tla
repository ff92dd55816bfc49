------------------------------- MODULE Account -------------------------------
(***************************************************************************)
(* One account of mfakit, and clients that load, decide and write it.      *)
(*                                                                         *)
(* A client begins an operation, loads the row, decides on what it loaded, *)
(* writes on condition of the revision, and only then answers. Between any *)
(* two steps others may run, and a client may crash.                       *)
(*                                                                         *)
(* There is no variable for the time: a decision may read any time step.   *)
(* So a clock may stand still, go on, jump, go back and come right again,  *)
(* and two processes may have clocks that disagree.                        *)
(*                                                                         *)
(* The model leaves out sealing, policy, challenges and waits.             *)
(***************************************************************************)
EXTENDS Integers, FiniteSets, TLC

CONSTANTS
    Clients,        \* concurrent callers
    Operations,     \* what they may ask for: a subset of AllOperations
    LastStep,       \* time steps are 1..LastStep
    Window,         \* steps on each side of an authenticator's own time in which its codes count
    Reach,          \* steps on each side of now in which `resync` looks for two codes in a row
    Phones,         \* authenticators at the beginning: 1 or 2
    RecoveryCodes,  \* the codes of one set
    Cap,            \* wrong codes in a row until every authenticator is disabled
    SessionCap,     \* wrong codes in a row in a signed-in session until all sessions end
    WritesMax,      \* bound of the search: writes that win
    CallsMax,       \* bound of the search: calls that begin
    \* Promises of the store. With one of them FALSE an invariant must break.
    ComparesRevision,
    ReadsAreFresh,
    RevisionsAreNew,        \* a row made again begins at a revision never used
    \* Promises of the decisions. With one of them FALSE an invariant must break.
    ResyncTakesUnspentCodes,
    ResyncNeverLowers,      \* the last step; breaks nothing while `resync` takes unspent codes only
    SkipsWhatIsAhead,       \* a last step out of reach is the clock's fault: nothing is counted
    SettlingKeepsLastSteps, \* stored future times count as now, but a spent step stays spent
    EveryMatchAdvances,     \* a code that fits two authenticators is spent on both
    WrongCodesEndSessions,
    VerdictsAreBound        \* what the platform said of a password holds for one epoch

AllOperations == {"code", "wrong_code", "step_up", "wrong_step_up", "resync", "recovery_code",
                  "offer", "drop", "confirm", "import", "remove", "disable", "reset",
                  "end_sessions", "password_login", "password_change", "forget", "purge",
                  "create_passcode", "revoke_passcode", "passcode_login"}
ASSUME Operations \subseteq AllOperations
ASSUME Phones \in {1, 2}

PhonesMax == 2
Steps == 1..LastStep

(* The lifecycle: <<state, event>> :> <<next state, does the epoch rise?>>. *)
(* The tests hold this table against mfakit.core.lifecycle.TRANSITIONS.      *)
Transitions ==
    <<"not_enrolled", "offered">> :> <<"enrolling", FALSE>> @@
    <<"not_enrolled", "imported">> :> <<"enrolled", TRUE>> @@
    <<"not_enrolled", "reset">> :> <<"not_enrolled", TRUE>> @@
    <<"not_enrolled", "password_changed">> :> <<"not_enrolled", TRUE>> @@
    <<"not_enrolled", "sessions_ended">> :> <<"not_enrolled", TRUE>> @@
    <<"enrolling", "offered">> :> <<"enrolling", FALSE>> @@
    <<"enrolling", "offer_dropped">> :> <<"not_enrolled", FALSE>> @@
    <<"enrolling", "confirmed">> :> <<"enrolled", TRUE>> @@
    <<"enrolling", "imported">> :> <<"enrolled", TRUE>> @@
    <<"enrolling", "reset">> :> <<"not_enrolled", TRUE>> @@
    <<"enrolling", "password_changed">> :> <<"not_enrolled", TRUE>> @@
    <<"enrolling", "sessions_ended">> :> <<"not_enrolled", TRUE>> @@
    <<"enrolled", "offered">> :> <<"enrolled_offer", FALSE>> @@
    <<"enrolled", "imported">> :> <<"enrolled", FALSE>> @@
    <<"enrolled", "removed">> :> <<"enrolled", TRUE>> @@
    <<"enrolled", "exhausted">> :> <<"locked", FALSE>> @@
    <<"enrolled", "turned_off">> :> <<"not_enrolled", TRUE>> @@
    <<"enrolled", "reset">> :> <<"not_enrolled", TRUE>> @@
    <<"enrolled", "password_changed">> :> <<"enrolled", TRUE>> @@
    <<"enrolled", "sessions_ended">> :> <<"enrolled", TRUE>> @@
    <<"enrolled_offer", "offered">> :> <<"enrolled_offer", FALSE>> @@
    <<"enrolled_offer", "offer_dropped">> :> <<"enrolled", FALSE>> @@
    <<"enrolled_offer", "confirmed">> :> <<"enrolled", FALSE>> @@
    <<"enrolled_offer", "removed">> :> <<"enrolled", TRUE>> @@
    <<"enrolled_offer", "exhausted">> :> <<"locked", FALSE>> @@
    <<"enrolled_offer", "turned_off">> :> <<"not_enrolled", TRUE>> @@
    <<"enrolled_offer", "reset">> :> <<"not_enrolled", TRUE>> @@
    <<"enrolled_offer", "password_changed">> :> <<"enrolled", TRUE>> @@
    <<"enrolled_offer", "sessions_ended">> :> <<"enrolled", TRUE>> @@
    <<"locked", "offered">> :> <<"locked_offer", FALSE>> @@
    <<"locked", "turned_off">> :> <<"not_enrolled", TRUE>> @@
    <<"locked", "reset">> :> <<"not_enrolled", TRUE>> @@
    <<"locked", "password_changed">> :> <<"locked", TRUE>> @@
    <<"locked", "sessions_ended">> :> <<"locked", TRUE>> @@
    <<"locked_offer", "offered">> :> <<"locked_offer", FALSE>> @@
    <<"locked_offer", "offer_dropped">> :> <<"locked", FALSE>> @@
    <<"locked_offer", "confirmed">> :> <<"enrolled", TRUE>> @@
    <<"locked_offer", "turned_off">> :> <<"not_enrolled", TRUE>> @@
    <<"locked_offer", "reset">> :> <<"not_enrolled", TRUE>> @@
    <<"locked_offer", "password_changed">> :> <<"locked", TRUE>> @@
    <<"locked_offer", "sessions_ended">> :> <<"locked", TRUE>>

Off == {"not_enrolled", "enrolling"}
On == {"enrolled", "enrolled_offer", "locked", "locked_offer"}
UsesCodes == {"enrolled", "enrolled_offer"}
Offering == {"enrolling", "enrolled_offer", "locked_offer"}

OfCodes == {"code", "wrong_code", "step_up", "wrong_step_up"}
InSession == {"step_up", "wrong_step_up", "resync"}

VARIABLES
    row,        \* the stored row, or None
    newest,     \* the highest revision, epoch and id ever given out: all are random in the code
    pc,         \* where each client stands
    asked,      \* the operation of each client
    loaded,     \* what each client loaded
    older,      \* a row that a stale read could return
    password,   \* the platform's: how often it was changed
    accepted,   \* ghost: all <<authenticator, step>> and recovery codes of acceptances written
    told_wrong, \* ghost: wrong codes told since the counter was last cleared
    in_session, \* ghost: wrong codes told in a session since a right one there, in one epoch
    revoked,    \* ghost: passcodes whose revocation was answered
    broken,     \* ghost: the promises that were broken on the way
    writes, calls

ghosts == <<accepted, told_wrong, in_session, revoked, broken>>
vars == <<row, newest, pc, asked, loaded, older, password, ghosts, writes, calls>>

None == [revision |-> 0]
NotAsked == [epoch |-> -1, is_right |-> FALSE]
NoCall == [kind |-> "none", whose |-> {}, step |-> 0, code |-> "none", epoch |-> 0, saw |-> {},
           typed |-> 0, verdict |-> NotAsked]

\* An authenticator: the last step accepted, and how many steps its own time is ahead.
Unused == [last |-> 0, offset |-> 0]
Used(step) == [last |-> step, offset |-> 0]

Blank(revision, epoch) ==
    [revision |-> revision, state |-> "not_enrolled", epoch |-> epoch, written |-> 0,
     failures |-> 0, session_failures |-> 0, codes |-> {}, set |-> 0, authenticators |-> <<>>,
     offer |-> FALSE, passcode |-> 0, password |-> 0]  \* `password` is a ghost: not in the code

Stored == row # None
Held(old) == DOMAIN old.authenticators
Max(a, b) == IF a > b THEN a ELSE b

Init ==
    /\ row = [Blank(1, 1) EXCEPT !.state = "enrolled", !.codes = RecoveryCodes, !.set = 1,
                                 !.authenticators = [id \in 1..Phones |-> Unused]]
    /\ newest = Phones
    /\ pc = [c \in Clients |-> "idle"]
    /\ asked = [c \in Clients |-> NoCall]
    /\ loaded = [c \in Clients |-> None]
    /\ older = None
    /\ password = 0
    /\ accepted = {}
    /\ told_wrong = 0
    /\ in_session = 0
    /\ revoked = {}
    /\ broken = {}
    /\ writes = 0
    /\ calls = 0

----------------------------------------------------------------------------
(* Deciding: pure, of what was loaded and of the time that was read. *)

Answer(outcome, old) == [outcome |-> outcome, writes |-> FALSE, new |-> old]
Write(outcome, new) == [outcome |-> outcome, writes |-> TRUE, new |-> new]
Refuse(old) == Answer("refused", old)

\* What an event makes of a row by itself; the fresh epoch is newest + 1.
Move(old, event) ==
    LET reached == Transitions[<<old.state, event>>]
        risen == [old EXCEPT !.state = reached[1],
                             !.epoch = IF reached[2] THEN newest + 1 ELSE @,
                             !.session_failures = IF reached[2] THEN 0 ELSE @,
                             !.offer = reached[1] \in Offering /\ (~reached[2])]
    IN  IF reached[1] \in Off
        THEN [risen EXCEPT !.codes = {}, !.authenticators = <<>>, !.passcode = 0,
                           !.failures = IF event = "reset" THEN 0 ELSE @]
        ELSE risen

Can(old, event) == <<old.state, event>> \in DOMAIN Transitions

\* A wrong code is counted, and one of a session is counted there as well.
Wrong(call, old) ==
    LET counted == [old EXCEPT !.failures = @ + 1]
        locked == IF counted.failures >= Cap THEN Move(counted, "exhausted") ELSE counted
    IN  CASE call.kind \notin InSession -> Write("wrong", locked)
          [] old.session_failures + 1 >= SessionCap /\ WrongCodesEndSessions ->
                Write("wrong", Move(locked, "sessions_ended"))
          [] OTHER -> Write("wrong", [locked EXCEPT !.session_failures = @ + 1])

With(old, authenticator) ==  \* one more authenticator; its id is newest + 1
    [old EXCEPT !.authenticators = (newest + 1 :> authenticator) @@ @]

Anew(old, step) ==  \* fresh factors: an authenticator whose step is spent, new recovery codes
    [old EXCEPT !.authenticators = (newest + 1 :> Used(step)), !.set = newest + 1,
                !.codes = RecoveryCodes, !.failures = 0]

\* The last candidate step of an authenticator.
End(authenticator, now) == now + authenticator.offset + Window
IsAhead(authenticator, now) == authenticator.last > End(authenticator, now)

\* Every two codes in a row that `resync` looks at have a spent one among them.
NoPairIsLeft(authenticator, now) == authenticator.last + 2 > now + Reach

\* The authenticators on which a code is right and not spent.
Fresh(call, old, now) ==
    {id \in call.whose \cap Held(old) :
        LET its == old.authenticators[id]
        IN  call.step > its.last /\ call.step \in (End(its, now) - 2 * Window)..End(its, now)}

DecideCode(call, old, now) ==
    LET fresh == Fresh(call, old, now)
        advancing == IF EveryMatchAdvances THEN fresh ELSE {CHOOSE id \in fresh : TRUE}
    IN  CASE old.state \notin UsesCodes -> Refuse(old)
          [] SkipsWhatIsAhead /\ (\A id \in Held(old) : IsAhead(old.authenticators[id], now)) ->
                Answer("clock", old)
          [] fresh # {} ->
                Write("accepted", [old EXCEPT !.failures = 0,
                    !.session_failures = IF call.kind = "step_up" THEN 0 ELSE @,
                    !.authenticators = [id \in Held(old) |->
                        IF id \in advancing THEN [@[id] EXCEPT !.last = call.step] ELSE @[id]]])
          [] OTHER -> Wrong(call, old)

\* Two codes in a row, of the steps call.step - 1 and call.step, on the proof of an epoch.
DecideResync(call, old, now) ==
    LET id == CHOOSE id \in call.whose : TRUE
        its == old.authenticators[id]
        is_near == now - Reach <= call.step - 1 /\ call.step <= now + Reach
        is_unspent == call.step - 1 > its.last
        last == IF ResyncNeverLowers THEN Max(its.last, call.step) ELSE call.step
    IN  CASE old.state \notin UsesCodes \/ call.epoch # old.epoch \/ id \notin Held(old) ->
                Refuse(old)
          [] SkipsWhatIsAhead /\ ResyncTakesUnspentCodes /\ NoPairIsLeft(its, now) ->
                Answer("clock", old)
          [] is_near /\ (is_unspent \/ ~ResyncTakesUnspentCodes) ->
                Write("accepted", [old EXCEPT !.failures = 0, !.session_failures = 0,
                    !.authenticators[id] = [last |-> last, offset |-> call.step - now]])
          [] OTHER -> Wrong(call, old)

Decide(call, old, now) ==
    CASE call.kind \in OfCodes -> DecideCode(call, old, now)
      [] call.kind = "resync" -> DecideResync(call, old, now)
      [] call.kind = "recovery_code" ->
            IF old.state \in On /\ call.code \in old.codes
            THEN Write("accepted", [old EXCEPT !.codes = @ \ {call.code}])
            ELSE Refuse(old)
      [] call.kind = "offer" ->
            IF Can(old, "offered") THEN Write("done", Move(old, "offered")) ELSE Refuse(old)
      [] call.kind = "drop" ->
            IF Can(old, "offer_dropped") THEN Write("done", Move(old, "offer_dropped"))
            ELSE Refuse(old)
      [] call.kind = "confirm" ->
            IF ~Can(old, "confirmed") \/ ~old.offer \/ call.epoch # old.epoch THEN Refuse(old)
            ELSE IF old.state # "enrolled_offer"
                 THEN Write("done", Anew(Move(old, "confirmed"), call.step))
                 ELSE IF Cardinality(Held(old)) < PhonesMax
                      THEN Write("done", With(Move(old, "confirmed"), Used(call.step)))
                      ELSE Refuse(old)
      [] call.kind = "import" ->
            IF Can(old, "imported") /\ Cardinality(Held(old)) < PhonesMax
            THEN Write("done", With(Move(old, "imported"), Unused)) ELSE Refuse(old)
      [] call.kind = "remove" ->
            IF Can(old, "removed") /\ call.whose \subseteq Held(old) /\ Cardinality(Held(old)) > 1
            THEN Write("done", [Move(old, "removed") EXCEPT !.authenticators =
                    [id \in Held(old) \ call.whose |-> @[id]]])
            ELSE Refuse(old)
      [] call.kind = "disable" ->
            IF Can(old, "turned_off") THEN Write("done", Move(old, "turned_off")) ELSE Refuse(old)
      [] call.kind = "reset" -> Write("done", Move(old, "reset"))
      [] call.kind = "password_change" ->
            Write("done", [Move(old, "password_changed") EXCEPT
                !.passcode = 0, !.password = Max(@, call.typed)])
      [] call.kind = "end_sessions" -> Write("done", Move(old, "sessions_ended"))
      [] call.kind = "password_login" ->  \* the first step; whatever follows is for this epoch
            CASE call.verdict = NotAsked -> Answer("ask", old)
              [] VerdictsAreBound /\ call.verdict.epoch # old.epoch -> Refuse(old)
              [] OTHER -> IF call.verdict.is_right THEN Answer("accepted", old) ELSE Refuse(old)
      [] call.kind = "create_passcode" ->
            IF old.state \in UsesCodes /\ old.passcode = 0 /\ call.epoch = old.epoch
            THEN Write("done", [old EXCEPT !.passcode = newest + 1]) ELSE Refuse(old)
      [] call.kind = "revoke_passcode" ->
            IF old.passcode # 0 THEN Write("done", [old EXCEPT !.passcode = 0]) ELSE Refuse(old)
      [] call.kind = "passcode_login" ->  \* the text is of the passcode `call.step`; no write
            IF old.state \in On /\ old.passcode = call.step THEN Answer("accepted", old)
            ELSE Refuse(old)
      [] call.kind = "forget" ->  \* leaves a new epoch alone, at a revision never used
            Write("done", [Blank(0, newest + 1) EXCEPT !.password = old.password])
      [] call.kind = "purge" -> Write("done", None)
      [] OTHER -> Refuse(old)

\* Before any decision, stored times that lie in the future are set to now. This is a write of its
\* own, after which the operation goes on. `written` stands for every stored time.
IsSettled(old, now) == old.written <= now
Settle(old, now) ==
    Write("settled", [old EXCEPT !.written = now, !.authenticators =
        IF SettlingKeepsLastSteps THEN @
        ELSE [id \in Held(old) |-> [@[id] EXCEPT !.last = IF @ > now THEN now ELSE @]]])

Judge(call, old, now) ==
    LET seen == IF old = None THEN Blank(0, 0) ELSE old
        decision == IF IsSettled(seen, now) \/ call.kind \in {"forget", "purge"}
                    THEN Decide(call, seen, now) ELSE Settle(seen, now)
    IN  IF decision.new = None THEN decision
        ELSE [decision EXCEPT !.new.written = Max(@, now)]

----------------------------------------------------------------------------
\* Whose code a person can type: that of one authenticator, or one that fits all by chance.
Authors(kind) ==
    LET held == IF Stored THEN Held(row) ELSE {}
        singles == {{id} : id \in held}
    IN  CASE kind \in {"code", "step_up"} -> singles \cup (IF held = {} THEN {} ELSE {held})
          [] kind \in {"resync", "remove"} -> singles
          [] OTHER -> {{}}

\* What a proof or an offer of an epoch allows.
OnAnEpoch == {"resync", "confirm", "create_passcode"}

\* Other searches do without the password, and are shorter for it.
AsksForPasswords == "password_login" \in Operations

Begin(c) ==
    /\ pc[c] = "idle" /\ calls < CallsMax
    /\ \E kind \in Operations : \E whose \in Authors(kind) :
        /\ password' = IF kind = "password_change" /\ AsksForPasswords THEN password + 1
                       ELSE password
        /\ \E step \in (CASE kind \in {"code", "step_up", "confirm"} -> Steps
                       [] kind = "resync" -> Steps \ {1}
                       [] kind = "passcode_login" ->
                            ((IF Stored THEN {row.passcode} ELSE {}) \cup revoked) \ {0}
                       [] OTHER -> {0}) :
           \E code \in (IF kind = "recovery_code" THEN RecoveryCodes ELSE {"none"}) :
            asked' = [asked EXCEPT ![c] =
                [kind |-> kind, whose |-> whose, step |-> step, code |-> code,
                 epoch |-> IF Stored /\ kind \in OnAnEpoch THEN row.epoch ELSE 0,
                 saw |-> IF kind = "passcode_login" THEN revoked ELSE {},
                 typed |-> IF kind \in {"password_login", "password_change"} THEN password' ELSE 0,
                 verdict |-> NotAsked]]
    /\ pc' = [pc EXCEPT ![c] = "begun"]
    /\ calls' = calls + 1
    /\ UNCHANGED <<row, newest, loaded, older, ghosts, writes>>

Load(c) ==
    /\ pc[c] = "begun"
    /\ loaded' = [loaded EXCEPT ![c] = row]
       \/ (~ReadsAreFresh /\ older # None /\ loaded' = [loaded EXCEPT ![c] = older])
    /\ pc' = [pc EXCEPT ![c] = "loaded"]
    /\ UNCHANGED <<row, newest, asked, older, password, ghosts, writes, calls>>

\* What a decision spends, once it is written.
Spent(call, outcome, old, now) ==
    CASE call.kind \in {"code", "step_up"} /\ outcome = "accepted" ->
            {<<"step", id, call.step>> : id \in Fresh(call, old, now)}
      [] call.kind = "resync" /\ outcome = "accepted" ->
            {<<"step", id, step>> : id \in call.whose, step \in {call.step - 1, call.step}}
      [] call.kind = "confirm" /\ outcome = "done" -> {<<"step", newest + 1, call.step>>}
      [] call.kind = "recovery_code" /\ outcome = "accepted" -> {<<"recovery", old.set, call.code>>}
      [] OTHER -> {}

\* What ends a run of wrong codes, once it is written.
Clears(call, outcome, old) ==
    \/ call.kind \in {"code", "step_up", "resync"} /\ outcome = "accepted"
    \/ call.kind \in {"reset", "forget", "purge"} /\ outcome = "done"
    \/ call.kind = "confirm" /\ outcome = "done" /\ old.state # "enrolled_offer"

Breaks(call, outcome, old, now) ==
    (IF Spent(call, outcome, old, now) \cap accepted = {} THEN {}
     ELSE {"accepted twice"}
          \cup (IF call.kind \in {"code", "step_up"} THEN {"took a spent code"} ELSE {}))
    \cup (IF call.kind = "passcode_login" /\ outcome = "accepted" /\ call.step \in call.saw
          THEN {"accepted after its revocation"} ELSE {})
    \cup (IF call.kind = "password_login" /\ outcome = "accepted" /\ call.typed < old.password
          THEN {"signed in by an older password"} ELSE {})
    \cup (IF outcome = "wrong" /\
             (IF call.kind = "resync"
              THEN \A id \in call.whose : NoPairIsLeft(old.authenticators[id], now)
              ELSE \A id \in Held(old) : IsAhead(old.authenticators[id], now))
          THEN {"counted while the clock was behind"} ELSE {})

\* The ghosts take note of a decision that was written or told, of the row that it left.
TakeNote(c, outcome, old, now, is_told) ==
    LET call == asked[c]
    IN  /\ accepted' = accepted \cup Spent(call, outcome, old, now)
        /\ broken' = broken \cup Breaks(call, outcome, old, now)
        /\ told_wrong' = CASE outcome = "wrong" /\ is_told -> told_wrong + 1
                           [] Clears(call, outcome, old) -> 0
                           [] OTHER -> told_wrong
        /\ in_session' = CASE row' = None \/ row'.epoch # old.epoch -> 0
                           [] call.kind \in InSession /\ outcome = "accepted" -> 0
                           [] call.kind \in InSession /\ outcome = "wrong" /\ is_told ->
                                in_session + 1
                           [] OTHER -> in_session
        /\ revoked' = IF call.kind = "revoke_passcode" /\ outcome = "done" /\ is_told
                      THEN revoked \cup {old.passcode} ELSE revoked

Wins(old) == IF ComparesRevision THEN row.revision = old.revision ELSE TRUE

Put(old, new) ==
    LET revision == IF new.revision = 0
                    THEN (IF RevisionsAreNew THEN newest + 1 ELSE 1)
                    ELSE old.revision + 1
    IN  /\ writes < WritesMax
        /\ row' = IF new = None THEN None ELSE [new EXCEPT !.revision = revision]
        /\ older' = IF ReadsAreFresh THEN None ELSE row
        /\ newest' = newest + 1 + (IF revision > newest THEN 1 ELSE 0)
        /\ writes' = writes + 1

\* How a step of a client ends.
Again(c) ==
    /\ pc' = [pc EXCEPT ![c] = "begun"]
    /\ loaded' = [loaded EXCEPT ![c] = None]
    /\ UNCHANGED asked
Ask(c, old) ==  \* the platform says whether the password is right; then the row is read again
    /\ pc' = [pc EXCEPT ![c] = "begun"]
    /\ loaded' = [loaded EXCEPT ![c] = None]
    /\ asked' = [asked EXCEPT ![c].verdict =
            [epoch |-> old.epoch, is_right |-> asked[c].typed = password]]
Done(c) ==
    /\ pc' = [pc EXCEPT ![c] = "idle"]
    /\ loaded' = [loaded EXCEPT ![c] = None]
    /\ asked' = [asked EXCEPT ![c] = NoCall]

DecideAndWrite(c) ==
    /\ pc[c] = "loaded"
    /\ \E now \in Steps :
        LET old == loaded[c]
            seen == IF old = None THEN Blank(0, 0) ELSE old
            decision == Judge(asked[c], old, now)
        IN  IF decision.outcome = "ask"
            THEN Ask(c, seen) /\ UNCHANGED <<row, newest, older, ghosts, writes>>
            ELSE IF ~decision.writes
            THEN /\ UNCHANGED <<row, newest, older, writes>>
                 /\ TakeNote(c, decision.outcome, seen, now, TRUE) /\ Done(c)
            ELSE IF ~Wins(old)
            THEN \* a lost race: load again, decide again
                 /\ Again(c)
                 /\ UNCHANGED <<row, newest, older, ghosts, writes>>
            ELSE /\ Put(old, decision.new)
                 /\ IF decision.outcome = "settled"
                    THEN /\ Again(c)
                         /\ UNCHANGED ghosts
                    ELSE /\ TakeNote(c, decision.outcome, seen, now, TRUE) /\ Done(c)
    /\ UNCHANGED <<password, calls>>

\* A crash after the write, before the answer: the write stands, nobody was told.
CrashBeforeAnswer(c) ==
    /\ pc[c] = "loaded"
    /\ \E now \in Steps :
        LET old == loaded[c]
            decision == Judge(asked[c], old, now)
        IN  /\ old # None /\ decision.writes /\ decision.new # None /\ row.revision = old.revision
            /\ Put(old, decision.new)
            /\ TakeNote(c, decision.outcome, old, now, FALSE)
    /\ Done(c)
    /\ UNCHANGED <<password, calls>>

Next == \E c \in Clients : Begin(c) \/ Load(c) \/ DecideAndWrite(c) \/ CrashBeforeAnswer(c)
Spec == Init /\ [][Next]_vars

----------------------------------------------------------------------------
(* What must hold whatever the order. *)

NothingIsAcceptedTwice ==
    broken \cap {"accepted twice", "accepted after its revocation"} = {}
NoSpentCodeIsTaken == "took a spent code" \notin broken
TheClockCostsNobody == "counted while the clock was behind" \notin broken
NoOlderPasswordSignsIn == "signed in by an older password" \notin broken
GuessesAreCounted == told_wrong <= Cap
WrongCodesInARowEndTheEpoch == in_session < SessionCap
WhatTheStateSaysIsHeld == Stored =>
    /\ row.state \in Off => row.authenticators = <<>> /\ row.codes = {} /\ row.passcode = 0
    /\ row.state \in On => row.authenticators # <<>>
    /\ row.offer <=> row.state \in Offering
LockedMeansCounted == (Stored /\ row.state \in {"locked", "locked_offer"}) => row.failures >= Cap
OffsetsAreInReach ==
    Stored => \A id \in Held(row) : row.authenticators[id].offset \in -Reach..Reach

\* A property of every step, not of a state.
LastStepNeverFalls == [][
    (row # None /\ row' # None) =>
        \A id \in DOMAIN row.authenticators \cap DOMAIN row'.authenticators :
            row'.authenticators[id].last >= row.authenticators[id].last]_vars

Symmetry == Permutations(Clients)
=============================================================================
