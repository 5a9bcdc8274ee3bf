//! PreUp, PostUp, PreDown and PostDown.

use crate::failure::Failure;
use crate::say::say;
use crate::spawn;
use kerntun_config::{Hook, InterfaceName};
use std::process::Command;

/// Runs commands in order with a shell until one fails. Each shows as a line `[#]` on standard error.
///
/// They run as in wg-quick(8): in bash where there is one, with `errexit` and `pipefail` set and `extglob` on.
///
/// # Errors
/// Names the command that failed, and the key it stands under.
pub(crate) fn run(key: &str, hooks: &[Hook], interface: &InterfaceName) -> Result<(), Failure> {
    hooks.iter().try_for_each(|hook| {
        let command = hook.command(interface);
        say!("[#] {command}");
        let mut shell = if spawn::exists("bash") { bash() } else { sh() };
        let status =
            shell.arg(&command).status().map_err(|error| Failure::new(format!("no shell can be run: {error}")))?;
        spawn::succeeded(&command, status).map_err(|failure| {
            failure.context(key).help(format!("try the command by hand, or change {key} in the file"))
        })
    })
}

fn bash() -> Command {
    let mut bash = spawn::command("bash");
    bash.args(["-e", "-o", "pipefail", "-O", "extglob", "-c"]);
    bash
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
    fn the_first_failure_ends_it() {
        let hooks = [Hook::new("true").unwrap(), Hook::new("false; true").unwrap(), Hook::new("exit 9").unwrap()];
        let message = run("PreUp", &hooks, &interface()).unwrap_err().to_string();
        assert!(message.contains("PreUp: 'false; true' failed with exit code 1"), "{message}");
        if spawn::exists("bash") {
            assert!(run("PreUp", &[Hook::new("false | true").unwrap()], &interface()).is_err());
        }
    }
}
