//! What to do about a test that waits for something that will not come: show what goes on in its laboratory, and
//! end it.

use std::path::Path;
use std::process::Command;

use crate::lab::SERVER_ADDRESS;

/// Shows (on stderr) the laboratories of the test programs that `parent` has started, then ends these programs and
/// whatever runs in their laboratories, and removes the namespaces.
///
/// # Errors
/// `ip` does not answer.
pub fn show_and_end(parent: u32) -> anyhow::Result<()> {
    let namespaces = crate::lab::run(Command::new("ip").args(["netns", "list"]))?;
    let namespaces = String::from_utf8_lossy(&namespaces.stdout).into_owned();
    let names = namespaces.lines().filter_map(|line| line.split_whitespace().next());
    let mut tests = children(parent);
    let of_tests: Vec<&str> =
        names.filter(|name| owner(name).is_some_and(|owner| tests.contains(&owner))).collect();
    for &namespace in &of_tests {
        let mut views = vec!["ss -tanoi exclude time-wait"];
        let ask = format!("timeout 10 redis-cli -h {SERVER_ADDRESS}");
        let questions = ["CLIENT LIST", "INFO everything", "MAYFLY EVENTS COUNT 50"];
        let questions = questions.map(|question| format!("{ask} {question}"));
        if namespace.ends_with("-client") {
            views.extend(questions.iter().map(String::as_str));
        }
        for view in views {
            show(namespace, view);
        }
    }
    tests.extend(of_tests.iter().flat_map(|namespace| inhabitants(namespace)));
    for process in tests {
        // SAFETY: takes two numbers. The process is a child's child, or in a namespace that one has made.
        unsafe { libc::kill(process as libc::pid_t, libc::SIGKILL) };
    }
    for namespace in of_tests {
        Command::new("ip").args(["netns", "delete", namespace]).status().ok();
    }
    Ok(())
}

/// Whose laboratory a namespace is of, as [`crate::Lab`] names it.
fn owner(namespace: &str) -> Option<u32> {
    namespace.strip_prefix("mayfly-")?.split('-').next()?.parse().ok()
}

fn children(parent: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id| parent_of(*id) == Some(parent)).collect()
}

fn parent_of(process: u32) -> Option<u32> {
    // proc(5): behind the name, which is in parentheses, stand the state and the parent.
    let stat = std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

fn inhabitants(namespace: &str) -> Vec<u32> {
    let output = Command::new("ip").args(["netns", "pids", namespace]).output();
    let pids = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    pids.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn show(namespace: &str, command: &str) {
    eprintln!("\n{namespace}: {command}");
    let output = Command::new("ip").args(["netns", "exec", namespace]).args(command.split(' ')).output();
    match output {
        Ok(output) => {
            for text in [&output.stdout, &output.stderr] {
                eprint!("{}", String::from_utf8_lossy(text));
            }
        }
        Err(error) => eprintln!("cannot ask: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_and_its_laboratory_are_known_by_their_numbers() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let found = children(std::process::id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found.contains(&child.id()), "{found:?}");
        assert_eq!(owner("mayfly-123-4-server"), Some(123));
        assert_eq!(owner("someone-123-4-server"), None);
    }
}
