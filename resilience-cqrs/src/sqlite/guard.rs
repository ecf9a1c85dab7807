//! Keeps what callers run on our connections away from what is ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

/// While a caller's code runs on a connection, refuses it to end the transaction it is in, or the savepoint, and to write
/// to the log's tables or to hide them behind temporary ones: the first would commit half a batch, the second would break
/// what the writer remembers.
///
/// SQLite asks when a statement is prepared; our own statements are prepared outside.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    watching: Arc<AtomicBool>,
}

impl Guard {
    pub(super) fn install(conn: &mut Connection) -> rusqlite::Result<Self> {
        let watching = Arc::new(AtomicBool::new(false));
        let guard = Self { watching: watching.clone() };
        // Relaxed, here and below: the connection is used by one thread at a time, and so is the flag.
        conn.authorizer(Some(move |context: AuthContext<'_>| {
            if watching.load(Ordering::Relaxed) { judge(context.action) } else { Authorization::Allow }
        }))?;
        Ok(guard)
    }

    pub(super) fn watch<T>(&self, run: impl FnOnce() -> T) -> T {
        self.watching.store(true, Ordering::Relaxed);
        let result = run();
        self.watching.store(false, Ordering::Relaxed);
        result
    }
}

fn judge(action: AuthAction<'_>) -> Authorization {
    let name = match action {
        AuthAction::Transaction { .. } | AuthAction::Attach { .. } | AuthAction::Detach { .. } => {
            return Authorization::Deny;
        }
        AuthAction::Pragma { pragma_value: Some(_), .. } => return Authorization::Deny,
        AuthAction::Savepoint { savepoint_name, .. } => savepoint_name,
        // What is temporary comes before what is in the file, for as long as the connection lives.
        AuthAction::CreateTempView { view_name } => view_name,
        AuthAction::CreateTempTable { table_name }
        | AuthAction::CreateVtable { table_name, .. }
        | AuthAction::CreateTempTrigger { table_name, .. } => table_name,
        AuthAction::Insert { table_name }
        | AuthAction::Update { table_name, .. }
        | AuthAction::Delete { table_name }
        | AuthAction::DropTable { table_name }
        | AuthAction::AlterTable { table_name, .. }
        | AuthAction::CreateIndex { table_name, .. }
        | AuthAction::DropIndex { table_name, .. }
        | AuthAction::CreateTrigger { table_name, .. } => table_name,
        _ => return Authorization::Allow,
    };
    if is_ours(name) { Authorization::Deny } else { Authorization::Allow }
}

/// Whether it is a table or a savepoint of ours. SQLite's names are the same in either case.
fn is_ours(name: &str) -> bool {
    const OURS: [&str; 10] = [
        "log_meta",
        "log_stream",
        "log_kind",
        "log_event",
        "log_tag",
        "log_tagged",
        "log_row",
        "log_command",
        "log_append",
        "log_inside",
    ];
    OURS.iter().any(|ours| name.eq_ignore_ascii_case(ours))
}
