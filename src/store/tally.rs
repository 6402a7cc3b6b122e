//! How many statements, and trips to the server, the transactions of a thread have cost.

use std::cell::Cell;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Statements that the database ran, but for the beginning and the end of a transaction.
    pub statements: u64,
    /// Times that the thread waited for the server.
    pub trips: u64,
}

thread_local! {
    static TALLY: Cell<Tally> = const { Cell::new(Tally { statements: 0, trips: 0 }) };
}

/// The database runs a statement.
pub(super) fn count_statement() {
    count(|tally| tally.statements += 1);
}

/// The thread waits for the server.
pub(super) fn count_trip() {
    count(|tally| tally.trips += 1);
}

/// What was counted on this thread since the last call.
pub(super) fn take() -> Tally {
    TALLY.take()
}

fn count(add: impl FnOnce(&mut Tally)) {
    let mut tally = TALLY.get();
    add(&mut tally);
    TALLY.set(tally);
}
