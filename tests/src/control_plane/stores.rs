//! What is behind the servers: SPIRE's database and etcd, read and spoilt behind their backs.

use std::time::Duration;

use anyhow::Context;

use super::{ControlPlane, TRUST_DOMAIN};

impl ControlPlane {
    /// Writes an SPIFFE ID that is none into the row of an entry. The server's own writes may fail meanwhile.
    ///
    /// # Errors
    /// If there is no such row, or the server's database cannot be written.
    pub fn spoil_entry(&self, id: &str) -> anyhow::Result<()> {
        let connection = rusqlite::Connection::open(self.dir().join("spire/db.sqlite3"))?;
        connection.busy_timeout(Duration::from_secs(5))?;
        let update = "UPDATE registered_entries SET spiffe_id = 'none' WHERE entry_id = ?1";
        let rows = connection.execute(update, [id])?;
        anyhow::ensure!(rows == 1, "no entry {id}");
        Ok(())
    }

    /// From now on the SPIRE Server's database fails at each new entry of this path, and so does the server.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub fn fail_entries_of(&self, path: &str) -> anyhow::Result<()> {
        let connection = rusqlite::Connection::open(self.dir().join("spire/db.sqlite3"))?;
        connection.busy_timeout(Duration::from_secs(5))?;
        // Not RAISE: the server takes that for an entry that exists already.
        connection.execute_batch(&format!(
            "CREATE TRIGGER fails BEFORE INSERT ON registered_entries \
             WHEN NEW.spiffe_id = 'spiffe://{TRUST_DOMAIN}{path}' \
             BEGIN SELECT abs(-9223372036854775807 - 1); END"
        ))?;
        Ok(())
    }

    /// How many changes of entries the SPIRE Server has recorded: every create, update and delete is one.
    ///
    /// # Errors
    /// If its database cannot be read.
    pub fn entry_events(&self) -> anyhow::Result<i64> {
        use rusqlite::{Connection, OpenFlags};
        let database = self.dir().join("spire/db.sqlite3");
        let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        connection.busy_timeout(Duration::from_secs(5))?;
        // The highest number ever given, not the number of rows: old rows are pruned.
        let query = "SELECT COALESCE(MAX(id), 0) FROM registered_entries_events";
        Ok(connection.query_row(query, [], |row| row.get(0))?)
    }

    /// Makes etcd forget the history of all objects, so that no watch from the past can be resumed.
    ///
    /// # Errors
    /// As etcd says.
    pub async fn compact_etcd(&self) -> anyhow::Result<()> {
        // etcd's JSON gateway: a range over nothing tells the revision, a compaction forgets what was before it.
        let header = self.etcd("/v3/kv/range", r#"{"key":"AA=="}"#).await?;
        let answer: serde_json::Value = serde_json::from_str(&header)?;
        let revision = answer["header"]["revision"]
            .as_str()
            .context("a revision")?
            .to_owned();
        let body = format!(r#"{{"revision":"{revision}","physical":true}}"#);
        self.etcd("/v3/kv/compaction", &body).await?;
        Ok(())
    }

    async fn etcd(&self, path: &str, body: &str) -> anyhow::Result<String> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", self.etcd_port)).await?;
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an HTTP answer")?;
        anyhow::ensure!(head.starts_with("HTTP/1.1 200"), "{answer}");
        Ok(body.to_owned())
    }
}
