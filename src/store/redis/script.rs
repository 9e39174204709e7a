//! Scripts inside Redis, each on one key.

use redis::{
    Cmd, ErrorKind, FromRedisValue, RedisResult, Script, ServerErrorKind, ToRedisArgs,
    aio::ConnectionLike,
};

/// A script that touches one key: in a cluster that key says which node runs it.
#[derive(Debug)]
pub(super) struct OneKeyScript {
    code: &'static str,
    hash: String,
}

impl OneKeyScript {
    /// Prepares a script; nothing is sent yet.
    pub(super) fn new(code: &'static str) -> Self {
        Self {
            code,
            hash: Script::new(code).get_hash().to_owned(),
        }
    }

    /// Begins a call of the script on a full key.
    pub(super) fn on(&self, key: String) -> Call<'_> {
        Call {
            script: self,
            key,
            arguments: Vec::new(),
        }
    }
}

/// A script with its key and what else it is told.
#[derive(Debug)]
pub(super) struct Call<'a> {
    script: &'a OneKeyScript,
    key: String,
    arguments: Vec<Vec<u8>>,
}

impl Call<'_> {
    /// Adds an argument.
    pub(super) fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        argument.write_redis_args(&mut self.arguments);
        self
    }

    /// Runs the script where its key is.
    pub(super) async fn run<T: FromRedisValue>(
        self,
        mut connection: impl ConnectionLike,
    ) -> RedisResult<T> {
        let by_hash = self.command("EVALSHA", &self.script.hash);
        match by_hash.query_async(&mut connection).await {
            // `SCRIPT LOAD` would go to every node of a cluster and fail with the first of them;
            // `EVAL` goes where the key is, and leaves the script there.
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                let in_full = self.command("EVAL", self.script.code);
                in_full.query_async(&mut connection).await
            }
            outcome => outcome,
        }
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command
            .arg(script)
            .arg(1)
            .arg(&self.key)
            .arg(&self.arguments);
        command
    }
}
