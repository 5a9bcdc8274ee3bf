//! PreUp, PostUp, PreDown and PostDown.

use crate::failure::Failure;
use crate::say::say;
use crate::spawn;
use kerntun_config::{Hook, InterfaceName};
use std::process::Command;

/// Runs commands in order with a shell until one fails. Each shows as a line `[#]` on standard error.
///
/// They run as in wg-quick(8): in bash where there is one, with `errexit` and `pipefail` set and `extglob` on. A command may hold
/// secrets, so it is not among the arguments, which every user of the machine can read.
///
/// # Errors
/// Names the command that failed, and the key it stands under.
pub(crate) fn run(key: &str, hooks: &[Hook], interface: &InterfaceName) -> Result<(), Failure> {
    hooks.iter().try_for_each(|hook| {
        let command = hook.command(interface);
        say!("[#] {command}");
        let status = bash()
            .unwrap_or_else(sh)
            .arg(SHELL_SCRIPT)
            .env("KERNTUN_HOOK", &command)
            .status()
            .map_err(|error| Failure::new(format!("no shell can be run: {error}")))?;
        spawn::succeeded(&command, status).map_err(|failure| {
            failure.context(key).help(format!("try the command by hand, or change {key} in the file"))
        })
    })
}

/// What the shell is told to do: take the command out of the environment, so that no child of the command inherits it, and run it.
const SHELL_SCRIPT: &str = r#"unset hook; hook=$KERNTUN_HOOK; unset KERNTUN_HOOK; eval "$hook""#;

fn bash() -> Option<Command> {
    let mut bash = spawn::installed("bash")?;
    bash.args(["-e", "-o", "pipefail", "-O", "extglob", "-c"]);
    Some(bash)
}

fn sh() -> Command {
    let mut sh = spawn::command("sh");
    sh.args(["-e", "-c"]);
    sh
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface() -> InterfaceName {
        InterfaceName::new("ktc0").unwrap()
    }

    #[test]
    fn the_interface_is_put_in_everywhere() {
        let hook = Hook::new("test %i-%i = ktc0-ktc0").unwrap();
        assert_eq!(run("PostUp", &[hook], &interface()), Ok(()));
    }

    #[test]
    fn the_command_shows_in_no_list_of_processes() {
        let file = std::env::temp_dir().join(format!("ktc-hook-{}", std::process::id()));
        let script = format!("x=sesame; {{ cat /proc/$$/cmdline; env; }} > {}", file.display());
        assert_eq!(run("PostUp", &[Hook::new(&script).unwrap()], &interface()), Ok(()));
        let seen = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        std::fs::remove_file(&file).unwrap();
        assert!(seen.contains("eval") && !seen.contains("sesame"), "{seen}");
    }

    #[test]
    fn the_command_is_run_as_it_stands() {
        for shell in [bash, || Some(sh())] {
            for (command, code) in [
                ("test \"$(printf '%s' \"a  b\" '$x')\" = 'a  b$x'", 0),
                ("x='a  b'; test ${#x} = 4", 0),
                ("env | grep -q ^hook=", 1),
                ("test -z \"$KERNTUN_HOOK\"; exit 7", 7),
                ("false; true", 1),
                ("exec sh -c 'exit 5'", 5),
            ] {
                let Some(mut shell) = shell() else { continue };
                let status = shell.arg(SHELL_SCRIPT).env("KERNTUN_HOOK", command).env("hook", "x").status().unwrap();
                assert_eq!(status.code(), Some(code), "{command}");
            }
        }
    }

    #[test]
    fn the_first_failure_ends_it() {
        let hooks = [Hook::new("true").unwrap(), Hook::new("false; true").unwrap(), Hook::new("exit 9").unwrap()];
        let message = run("PreUp", &hooks, &interface()).unwrap_err().to_string();
        assert!(message.contains("PreUp: 'false; true' failed with exit code 1"), "{message}");
        if spawn::exists("bash") {
            assert!(run("PreUp", &[Hook::new("false | true").unwrap()], &interface()).is_err());
        }
    }
}
