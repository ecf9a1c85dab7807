//! The tables, and what an existing file must look like.

use redb::{
    ReadOnlyTable, ReadTransaction, ReadableTable, Table, TableDefinition, TableError, TableHandle, WriteTransaction,
};

use super::error::Fault;

/// The version of the layout below. A file of another version is refused, not guessed at.
pub(super) const VERSION: u64 = 1;

/// What is said about the file as a whole.
const META: TableDefinition<'static, &str, u64> = TableDefinition::new("log_meta");

/// A table of the log, to be read, within a transaction of either kind.
pub(super) trait View {
    /// Events by position, each with all that is known of it: whatever else is lost can be made again from here.
    fn events(&self) -> &impl ReadableTable<u64, &'static [u8]>;
    /// Numbers of streams by name, handed out in the order in which they are first seen: the entries of streams that are
    /// alive at the same time then share a few pages of the next table, where names would be scattered all over it.
    fn stream_ids(&self) -> &impl ReadableTable<&'static str, u64>;
    /// Positions by stream and version.
    fn streams(&self) -> &impl ReadableTable<(u64, u64), u64>;
    /// Type and position.
    fn kinds(&self) -> &impl ReadableTable<(&'static str, u64), ()>;
    /// Types by tag and position.
    fn tags(&self) -> &impl ReadableTable<(&'static str, u64), &'static str>;
    /// Rows by space and key.
    fn rows(&self) -> &impl ReadableTable<(&'static str, &'static [u8]), &'static [u8]>;
    /// Results by command.
    fn commands(&self) -> &impl ReadableTable<&'static str, &'static [u8]>;
}

macro_rules! tables {
    ($($table:ident: $key:ty => $value:ty, $name:literal;)*) => {
        #[allow(non_upper_case_globals)] // Named as their fields are.
        mod definitions {
            use super::TableDefinition;
            $(pub(super) const $table: TableDefinition<'static, $key, $value> = TableDefinition::new($name);)*
        }

        /// The tables as they were when a transaction began.
        pub(super) struct ReadTables {
            $($table: ReadOnlyTable<$key, $value>,)*
        }

        impl ReadTables {
            pub(super) fn open(tx: &ReadTransaction) -> Result<Self, TableError> {
                Ok(Self { $($table: tx.open_table(definitions::$table)?,)* })
            }
        }

        /// The tables in a transaction that writes.
        pub(super) struct WriteTables<'t> {
            $(pub(super) $table: Table<'t, $key, $value>,)*
        }

        impl<'t> WriteTables<'t> {
            pub(super) fn open(tx: &'t WriteTransaction) -> Result<Self, TableError> {
                Ok(Self { $($table: tx.open_table(definitions::$table)?,)* })
            }
        }

        impl View for ReadTables {
            $(fn $table(&self) -> &impl ReadableTable<$key, $value> {
                &self.$table
            })*
        }

        impl View for WriteTables<'_> {
            $(fn $table(&self) -> &impl ReadableTable<$key, $value> {
                &self.$table
            })*
        }
    };
}

tables! {
    events: u64 => &'static [u8], "log_event";
    stream_ids: &'static str => u64, "log_stream";
    streams: (u64, u64) => u64, "log_stream_event";
    kinds: (&'static str, u64) => (), "log_kind";
    tags: (&'static str, u64) => &'static str, "log_tag";
    rows: (&'static str, &'static [u8]) => &'static [u8], "log_row";
    commands: &'static str => &'static [u8], "log_command";
}

/// Brings the layout if there is none, and says which version is there.
pub(super) fn prepare(tx: &WriteTransaction) -> Result<Option<u64>, Fault> {
    let ours = tx.list_tables()?.any(|table| table.name() == META.name());
    let mut meta = tx.open_table(META)?;
    if !ours {
        meta.insert("version", VERSION)?;
    }
    let found = meta.get("version")?.map(|version| version.value());
    if found == Some(VERSION) {
        WriteTables::open(tx)?;
    }
    Ok(found)
}
