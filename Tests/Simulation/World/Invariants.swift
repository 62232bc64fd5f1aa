/// What holds in every world, in words; `SimulatedBackend`, `World` and `Verdict` check it.
package enum Invariants {
  package static let texts = [
    "a database gets exactly what its client sent, a client what its database sent: all of it, or up to a cut",
    "Sallyport's own word comes between two messages only, and is the last",
    "nothing flows before the login is complete, nor to a database that was given up",
    "no operation on a closed handle, no handle used twice, no two sends at once",
    "send buffers stay as they are until their completion, or until their owner is let go",
    "no more than the mark and one buffer waits for a peer that does not read",
    "every session ends, and every socket is closed",
    "each grant has one start in the records, each start without a failure one end, never before it",
    "a cancel reaches a session whose client asked for it or left, and no other",
  ]
}
