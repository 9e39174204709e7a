//! What others on the machine see of the process: its arguments, its environment, its children and
//! what a crash leaves behind.

use std::{
    fs::{self, Permissions},
    io::{self, BufRead as _, BufReader},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tokio::net::unix::pipe;

use crate::support::{Gateway, assert_eventually};

/// Secrets by their key, of every form that the file takes: here, in another file, in the environment.
const HERE: &str = "sk-hidden-in-the-configuration";
const IN_A_FILE: &str = "sk-hidden-in-a-file";
const IN_THE_ENVIRONMENT: &str = "sk-seen-in-the-environment";

/// A file of the running process in `/proc`; nothing if nobody but root may read it.
fn proc_file(gateway: &Gateway, name: &str) -> Option<String> {
    match fs::read(format!("/proc/{}/{name}", gateway.pid())) {
        Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        Err(error) => panic!("{name}: {error}"),
    }
}

/// A gateway that has a secret from everywhere, and none of its stores.
async fn with_secrets(directory: &Path) -> Gateway {
    let file = directory.join("secret");
    fs::write(&file, IN_A_FILE).unwrap();
    Gateway::builder()
        .set("dify.secret_key", &format!("{{ file = {file:?} }}"))
        .set("dify.keys", &format!("{{ \"a\" = \"{HERE}\" }}"))
        .set("postgres.password", &format!("\"{HERE}\""))
        .set("redis.password", "{ env = \"LEAK_TEST_PASSWORD\" }")
        .set("enterprise.enabled", "true")
        .set("enterprise.api_url", "\"http://127.0.0.1:1\"")
        .set("enterprise.secret_key", &format!("\"{HERE}\""))
        .env("LEAK_TEST_PASSWORD", IN_THE_ENVIRONMENT)
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_file_has_is_in_no_argument_and_no_environment() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = with_secrets(directory.path()).await;
    gateway.get("/openapi/v1/apps", Some("dfoa_x")).await;
    gateway.reload();
    gateway
        .wait_for_log(|line| line.to_string().contains("read again"))
        .await;

    let arguments = proc_file(&gateway, "cmdline").unwrap();
    assert!(arguments.contains("serve"), "{arguments}");
    for secret in [HERE, IN_A_FILE, IN_THE_ENVIRONMENT] {
        assert!(!arguments.contains(secret), "{arguments}");
    }
    if let Some(environment) = proc_file(&gateway, "environ") {
        for secret in [HERE, IN_A_FILE] {
            assert!(!environment.contains(secret), "{environment}");
        }
        // What is handed over there stays there, as with any program: `docs/security.md` says so.
        assert!(environment.contains(IN_THE_ENVIRONMENT), "{environment}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_program_is_ever_started() {
    let directory = tempfile::tempdir().unwrap();
    let gateway = with_secrets(directory.path()).await;
    for path in ["/openapi/v1/apps", "/device", "/v1/info"] {
        gateway.get(path, Some("dfoa_x")).await;
    }
    gateway.metrics().await;

    let threads = fs::read_dir(format!("/proc/{}/task", gateway.pid())).unwrap();
    let threads: Vec<_> = threads.map(|thread| thread.unwrap().path()).collect();
    assert!(threads.len() > 1, "{threads:?}");
    for thread in threads {
        // A thread may have ended by now, and its children are another one's then.
        let children = fs::read_to_string(thread.join("children")).unwrap_or_default();
        assert_eq!(children, "", "{thread:?}");
    }
    // Those that have ended are in none of these: what they have faulted in is their parent's count.
    let counts = proc_file(&gateway, "stat").unwrap();
    let (_, counts) = counts.rsplit_once(") ").unwrap();
    let counts: Vec<&str> = counts.split(' ').collect();
    // `cminflt` and `cmajflt`, the 11th and 13th (`proc_pid_stat(5)`); the first here is the 3rd.
    assert_eq!([counts[8], counts[10]], ["0", "0"], "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_leaves_no_memory_behind() {
    let gateway = Gateway::builder().start().await;

    let limits = proc_file(&gateway, "limits").unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let words: Vec<&str> = core.unwrap().split_whitespace().skip(4).collect();

    assert_eq!(words[..2], ["0", "0"], "soft and hard");
    let unit = fs::read_to_string("docs/install/difygate.service").unwrap();
    assert!(
        unit.contains("\nLimitCORE=0\n"),
        "there the process may not set it by itself"
    );
}

/// The program where everybody may run it: where it was built may be closed to others.
fn for_everybody(directory: &Path) -> PathBuf {
    fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
    let program = directory.join("difygate");
    fs::copy(env!("CARGO_BIN_EXE_difygate"), &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    program
}

/// A program to be run by somebody who is not root, and who that is.
fn by_somebody(program: &Path, arguments: &[&str]) -> (Command, u32) {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let own = fs::metadata("/proc/self").unwrap().uid();
    if own != 0 {
        return (command, own);
    }
    command.uid(65_534).gid(65_534);
    (command, 65_534)
}

/// Who owns what the kernel tells of a process, and ends it. That is root, if the program is not for
/// dumping (`proc(5)`).
fn told_by_whom(mut child: Child) -> u32 {
    let told = fs::metadata(format!("/proc/{}/environ", child.id()));
    let owner = told.unwrap().uid();
    child.kill().unwrap();
    child.wait().unwrap();
    owner
}

/// The same, once it has printed a line.
fn told_by_whom_when_it_speaks(mut command: Command) -> u32 {
    let mut child = command.spawn().unwrap();
    let mut line = String::new();
    let mut printed = BufReader::new(child.stdout.take().unwrap());
    printed.read_line(&mut line).unwrap();
    told_by_whom(child)
}

#[test]
fn a_core_is_piped_to_nobody_and_nobody_else_looks_in() {
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let program = for_everybody(directory.path());
    let anywhere = "127.0.0.1:0";

    let demo = ["demo", "--listen", anywhere, "--admin-listen", anywhere];
    let (demo, _) = by_somebody(&program, &demo);
    let (other, somebody) = by_somebody(Path::new("/bin/sh"), &["-c", "echo; read -r _"]);

    let usual = told_by_whom_when_it_speaks(other);
    assert_eq!(usual, somebody, "any other program");
    assert_eq!(told_by_whom_when_it_speaks(demo), 0);
}

#[tokio::test]
async fn nobody_looks_into_a_command_from_before_it_reads_its_configuration() {
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    let program = for_everybody(directory.path());
    let file = directory.path().join("config.toml");
    let mut make = Command::new("mkfifo");
    make.args(["-m", "644"]).arg(&file);
    assert!(make.status().unwrap().success());
    let named = file.to_str().unwrap();

    for command in ["serve", "check", "migrate", "prune"] {
        let (mut command, _) = by_somebody(&program, &[command, "--config", named]);
        let child = command.spawn().unwrap();
        // It can be opened for writing as soon as somebody reads, and stays empty.
        let mut held = Vec::new();
        assert_eventually!(
            {
                held.extend(pipe::OpenOptions::new().open_sender(&file));
                !held.is_empty()
            },
            "the configuration is being read"
        );

        assert_eq!(told_by_whom(child), 0, "{command:?}");
    }
}
