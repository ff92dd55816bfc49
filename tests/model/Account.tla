------------------------------- MODULE Account -------------------------------
(***************************************************************************)
(* One account of mfakit, and clients that load, decide and write it.      *)
(*                                                                         *)
(* A client begins an operation, loads the row, decides on what it loaded, *)
(* writes on condition of the revision, and only then answers. Between any *)
(* two steps others may run, and a client may crash. What the model leaves *)
(* out: sealing, policy, time beyond the time step, several authenticators.*)
(***************************************************************************)
EXTENDS Naturals, FiniteSets, TLC

CONSTANTS
    Clients,        \* concurrent callers
    Operations,     \* what they may ask for: a subset of AllOperations
    LastStep,       \* time steps are 1..LastStep
    RecoveryCodes,  \* the codes of one set
    Cap,            \* wrong codes in a row until every authenticator is disabled
    WritesMax,      \* bound of the search: writes that win
    CallsMax,       \* bound of the search: calls that begin
    ComparesRevision,   \* the store's promise; FALSE must break the invariants
    ReadsAreFresh,      \* the store's promise; FALSE must break the invariants
    RevisionsAreNew     \* a row made again begins at a revision never used; FALSE must break them

AllOperations == {"code", "wrong_code", "recovery_code", "offer", "drop", "confirm", "import",
                  "remove", "disable", "reset", "password_change", "forget",
                  "create_passcode", "revoke_passcode", "passcode_login"}
ASSUME Operations \subseteq AllOperations

(* The lifecycle: <<state, event>> :> <<next state, does the epoch rise?>>. *)
(* The tests hold this table against mfakit.core.lifecycle.TRANSITIONS.      *)
Transitions ==
    <<"not_enrolled", "offered">> :> <<"enrolling", FALSE>> @@
    <<"not_enrolled", "imported">> :> <<"enrolled", TRUE>> @@
    <<"not_enrolled", "reset">> :> <<"not_enrolled", TRUE>> @@
    <<"not_enrolled", "password_changed">> :> <<"not_enrolled", TRUE>> @@
    <<"enrolling", "offered">> :> <<"enrolling", FALSE>> @@
    <<"enrolling", "offer_dropped">> :> <<"not_enrolled", FALSE>> @@
    <<"enrolling", "confirmed">> :> <<"enrolled", TRUE>> @@
    <<"enrolling", "imported">> :> <<"enrolled", TRUE>> @@
    <<"enrolling", "reset">> :> <<"not_enrolled", TRUE>> @@
    <<"enrolling", "password_changed">> :> <<"not_enrolled", TRUE>> @@
    <<"enrolled", "offered">> :> <<"enrolled_offer", FALSE>> @@
    <<"enrolled", "imported">> :> <<"enrolled", FALSE>> @@
    <<"enrolled", "removed">> :> <<"enrolled", TRUE>> @@
    <<"enrolled", "exhausted">> :> <<"locked", FALSE>> @@
    <<"enrolled", "turned_off">> :> <<"not_enrolled", TRUE>> @@
    <<"enrolled", "reset">> :> <<"not_enrolled", TRUE>> @@
    <<"enrolled", "password_changed">> :> <<"enrolled", TRUE>> @@
    <<"enrolled_offer", "offered">> :> <<"enrolled_offer", FALSE>> @@
    <<"enrolled_offer", "offer_dropped">> :> <<"enrolled", FALSE>> @@
    <<"enrolled_offer", "confirmed">> :> <<"enrolled", FALSE>> @@
    <<"enrolled_offer", "removed">> :> <<"enrolled", TRUE>> @@
    <<"enrolled_offer", "exhausted">> :> <<"locked", FALSE>> @@
    <<"enrolled_offer", "turned_off">> :> <<"not_enrolled", TRUE>> @@
    <<"enrolled_offer", "reset">> :> <<"not_enrolled", TRUE>> @@
    <<"enrolled_offer", "password_changed">> :> <<"enrolled", TRUE>> @@
    <<"locked", "offered">> :> <<"locked_offer", FALSE>> @@
    <<"locked", "turned_off">> :> <<"not_enrolled", TRUE>> @@
    <<"locked", "reset">> :> <<"not_enrolled", TRUE>> @@
    <<"locked", "password_changed">> :> <<"locked", TRUE>> @@
    <<"locked_offer", "offered">> :> <<"locked_offer", FALSE>> @@
    <<"locked_offer", "offer_dropped">> :> <<"locked", FALSE>> @@
    <<"locked_offer", "confirmed">> :> <<"enrolled", TRUE>> @@
    <<"locked_offer", "turned_off">> :> <<"not_enrolled", TRUE>> @@
    <<"locked_offer", "reset">> :> <<"not_enrolled", TRUE>> @@
    <<"locked_offer", "password_changed">> :> <<"locked", TRUE>>

Off == {"not_enrolled", "enrolling"}
On == {"enrolled", "enrolled_offer", "locked", "locked_offer"}
UsesCodes == {"enrolled", "enrolled_offer"}
Offering == {"enrolling", "enrolled_offer", "locked_offer"}

VARIABLES
    row,        \* the stored row, or None
    now,        \* the time step
    newest,     \* the highest revision and epoch ever given out: both are random in the code
    pc,         \* where each client stands
    asked,      \* the operation of each client: [kind, step, code, epoch, sees_revoked]
    loaded,     \* what each client loaded
    older,      \* a row that a stale read could return
    accepted,   \* ghost: how often each code or step was told to be right, per set or authenticator
    told_wrong, \* ghost: wrong codes told since the counter was last cleared
    revoked,    \* ghost: passcodes whose revocation was answered
    broken,     \* ghost: an acceptance that must not have been
    writes, calls

vars == <<row, now, newest, pc, asked, loaded, older, accepted, told_wrong, revoked, broken,
          writes, calls>>

None == [revision |-> 0]
NoCall == [kind |-> "none", step |-> 0, code |-> "none", epoch |-> 0, saw |-> {}]

Blank(revision, epoch) ==
    [revision |-> revision, state |-> "not_enrolled", epoch |-> epoch, last |-> 0, failures |-> 0,
     codes |-> {}, set |-> 0, authenticator |-> 0, offer |-> FALSE, passcode |-> 0]

Stored == row # None
Init ==
    /\ row = [Blank(1, 1) EXCEPT !.state = "enrolled", !.codes = RecoveryCodes, !.set = 1,
                                 !.authenticator = 1]
    /\ now = 1
    /\ newest = 1
    /\ pc = [c \in Clients |-> "idle"]
    /\ asked = [c \in Clients |-> NoCall]
    /\ loaded = [c \in Clients |-> None]
    /\ older = None
    /\ accepted = {}
    /\ told_wrong = 0
    /\ revoked = {}
    /\ broken = {}
    /\ writes = 0
    /\ calls = 0

----------------------------------------------------------------------------
(* Deciding: pure, of what was loaded. A decision is [outcome, new row]; no  *)
(* write when the new row is the old one.                                    *)

Refuse(old) == [outcome |-> "refused", new |-> old]
Write(outcome, new) == [outcome |-> outcome, new |-> new]

\* What an event makes of a row by itself; the fresh epoch is newest + 1.
Move(old, event) ==
    LET reached == Transitions[<<old.state, event>>]
        risen == [old EXCEPT !.state = reached[1],
                             !.epoch = IF reached[2] THEN newest + 1 ELSE @,
                             !.offer = reached[1] \in Offering /\ (~reached[2])]
    IN  IF reached[1] \in Off
        THEN [risen EXCEPT !.codes = {}, !.authenticator = 0, !.passcode = 0, !.last = 0,
                           !.failures = IF event = "reset" THEN 0 ELSE @]
        ELSE risen

Can(old, event) == <<old.state, event>> \in DOMAIN Transitions

Wrong(old) ==
    LET counted == [old EXCEPT !.failures = @ + 1]
    IN  IF counted.failures >= Cap THEN Write("wrong", Move(counted, "exhausted"))
        ELSE Write("wrong", counted)

Live(old, step) ==  \* fresh factors: an authenticator whose step is spent, new recovery codes
    [old EXCEPT !.authenticator = newest + 1, !.set = newest + 1, !.codes = RecoveryCodes,
                !.last = step, !.failures = 0]

Decide(call, old) ==
    CASE call.kind = "code" ->
            IF old.state \notin UsesCodes THEN Refuse(old)
            ELSE IF call.step > old.last
                 THEN Write("accepted", [old EXCEPT !.last = call.step, !.failures = 0])
                 ELSE Wrong(old)
      [] call.kind = "wrong_code" -> IF old.state \in UsesCodes THEN Wrong(old) ELSE Refuse(old)
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
            ELSE IF old.state = "enrolled_offer"  \* a second phone: the model keeps the first
                 THEN Write("done", Move(old, "confirmed"))
                 ELSE Write("done", Live(Move(old, "confirmed"), call.step))
      [] call.kind = "import" ->
            IF ~Can(old, "imported") THEN Refuse(old)
            ELSE IF old.state \in Off
                 THEN Write("done", [Move(old, "imported") EXCEPT !.authenticator = newest + 1])
                 ELSE Write("done", Move(old, "imported"))
      [] call.kind = "remove" ->
            IF Can(old, "removed") THEN Write("done", Move(old, "removed")) ELSE Refuse(old)
      [] call.kind = "disable" ->
            IF Can(old, "turned_off") THEN Write("done", Move(old, "turned_off")) ELSE Refuse(old)
      [] call.kind = "reset" -> Write("done", Move(old, "reset"))
      [] call.kind = "password_change" ->
            Write("done", [Move(old, "password_changed") EXCEPT !.passcode = 0])
      [] call.kind = "create_passcode" ->
            IF old.state \in UsesCodes /\ old.passcode = 0 /\ call.epoch = old.epoch
            THEN Write("done", [old EXCEPT !.passcode = newest + 1]) ELSE Refuse(old)
      [] call.kind = "revoke_passcode" ->
            IF old.passcode # 0 THEN Write("done", [old EXCEPT !.passcode = 0]) ELSE Refuse(old)
      [] call.kind = "passcode_login" ->  \* the text is of the passcode `call.step`; no write
            IF old.state \in On /\ old.passcode = call.step THEN [outcome |-> "accepted", new |-> old]
            ELSE Refuse(old)
      [] call.kind = "forget" -> Write("done", None)
      [] OTHER -> Refuse(old)

----------------------------------------------------------------------------
Begin(c) ==
    /\ pc[c] = "idle" /\ calls < CallsMax
    /\ \E kind \in Operations :
        \E step \in (CASE kind \in {"code", "confirm"} ->
                            {s \in 1..LastStep : s >= now - 1 /\ s <= now + 1}
                       [] kind = "passcode_login" -> ((IF Stored THEN {row.passcode} ELSE {}) \cup revoked) \ {0}
                       [] OTHER -> {0}) :
        \E code \in (IF kind = "recovery_code" THEN RecoveryCodes ELSE {"none"}) :
            asked' = [asked EXCEPT ![c] =
                [kind |-> kind, step |-> step, code |-> code,
                 epoch |-> IF Stored THEN row.epoch ELSE 0, saw |-> revoked]]
    /\ pc' = [pc EXCEPT ![c] = "begun"]
    /\ calls' = calls + 1
    /\ UNCHANGED <<row, now, newest, loaded, older, accepted, told_wrong, revoked, broken, writes>>

Load(c) ==
    /\ pc[c] = "begun"
    /\ loaded' = [loaded EXCEPT ![c] = row]
       \/ (~ReadsAreFresh /\ older # None /\ loaded' = [loaded EXCEPT ![c] = older])
    /\ pc' = [pc EXCEPT ![c] = "loaded"]
    /\ UNCHANGED <<row, now, newest, asked, older, accepted, told_wrong, revoked, broken, writes,
                   calls>>

\* What ends a run of wrong codes, once it is written.
Clears(call, outcome) ==
    \/ call.kind = "code" /\ outcome = "accepted"
    \/ call.kind \in {"reset", "confirm", "forget"} /\ outcome = "done"

\* What a client is told becomes true here: the ghosts take note.
Tell(c, outcome, old) ==
    LET call == asked[c]
        confirms == call.kind = "confirm" /\ outcome = "done" /\ old.state # "enrolled_offer"
        item == CASE call.kind = "code" -> <<"step", old.authenticator, call.step>>
                  [] confirms -> <<"step", newest + 1, call.step>>
                  [] call.kind = "recovery_code" -> <<"recovery", old.set, call.code>>
                  [] OTHER -> <<"passcode", call.step, "none">>
        spends == (call.kind \in {"code", "recovery_code"} /\ outcome = "accepted") \/ confirms
        is_wrong == (spends /\ item \in accepted)
                    \/ (call.kind = "passcode_login" /\ outcome = "accepted"
                        /\ call.step \in call.saw)
    IN  /\ accepted' = IF spends THEN accepted \cup {item} ELSE accepted
        /\ broken' = IF is_wrong THEN broken \cup {item} ELSE broken
        /\ told_wrong' = CASE outcome = "wrong" -> told_wrong + 1
                           [] Clears(call, outcome) -> 0
                           [] OTHER -> told_wrong
        /\ revoked' = IF call.kind = "revoke_passcode" /\ outcome = "done"
                      THEN revoked \cup {old.passcode} ELSE revoked

Decided(c, decision) ==
    LET old == loaded[c]
        revision == IF old = None
                    THEN (IF RevisionsAreNew THEN newest + 1 ELSE 1)
                    ELSE old.revision + 1
        wins == IF ComparesRevision THEN row.revision = old.revision ELSE TRUE
    IN  IF decision.new = old
        THEN /\ Tell(c, decision.outcome, old)
             /\ pc' = [pc EXCEPT ![c] = "idle"]
             /\ UNCHANGED <<row, newest, older, writes>>
        ELSE IF wins
        THEN /\ writes < WritesMax
             /\ row' = IF decision.new = None THEN None
                       ELSE [decision.new EXCEPT !.revision = revision]
             /\ older' = row
             /\ newest' = newest + 1 + (IF revision > newest THEN 1 ELSE 0)
             /\ writes' = writes + 1
             /\ Tell(c, decision.outcome, old) /\ pc' = [pc EXCEPT ![c] = "idle"]
        ELSE \* a lost race: load again, decide again
             /\ pc' = [pc EXCEPT ![c] = "begun"]
             /\ UNCHANGED <<row, newest, older, accepted, told_wrong, revoked, broken, writes>>

DecideAndWrite(c) ==
    /\ pc[c] = "loaded"
    /\ LET old == loaded[c]
           seen == IF old = None THEN Blank(0, 0) ELSE old
           decision == Decide(asked[c], seen)
       IN  IF old = None /\ decision.new = seen
           THEN Decided(c, [decision EXCEPT !.new = None])
           ELSE Decided(c, decision)
    /\ UNCHANGED <<now, asked, loaded, calls>>

\* A crash after the write, before the answer: the write stands, nobody was told.
CrashBeforeAnswer(c) ==
    /\ pc[c] = "loaded"
    /\ LET old == loaded[c]
           decision == Decide(asked[c], IF old = None THEN Blank(0, 0) ELSE old)
       IN  /\ old # None /\ decision.new # old /\ decision.new # None
           /\ row.revision = old.revision /\ writes < WritesMax
           /\ row' = [decision.new EXCEPT !.revision = old.revision + 1]
           /\ older' = row
           /\ newest' = newest + 2
           /\ writes' = writes + 1
           /\ told_wrong' = IF Clears(asked[c], decision.outcome) THEN 0 ELSE told_wrong
    /\ pc' = [pc EXCEPT ![c] = "idle"]
    /\ UNCHANGED <<now, asked, loaded, accepted, revoked, broken, calls>>

Tick == now < LastStep /\ now' = now + 1
        /\ UNCHANGED <<row, newest, pc, asked, loaded, older, accepted, told_wrong, revoked, broken,
                       writes, calls>>

Next == Tick \/ \E c \in Clients :
            Begin(c) \/ Load(c) \/ DecideAndWrite(c) \/ CrashBeforeAnswer(c)
Spec == Init /\ [][Next]_vars

----------------------------------------------------------------------------
(* What must hold whatever the order. *)

NothingIsAcceptedTwice == broken = {}
GuessesAreCounted == told_wrong <= Cap
WhatTheStateSaysIsHeld == Stored =>
    /\ row.state \in Off => row.authenticator = 0 /\ row.codes = {} /\ row.passcode = 0
    /\ row.state \in On => row.authenticator # 0
    /\ row.offer <=> row.state \in Offering
LockedMeansCounted == (Stored /\ row.state \in {"locked", "locked_offer"}) => row.failures >= Cap

Symmetry == Permutations(Clients)
=============================================================================
