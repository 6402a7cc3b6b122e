//! The command `healthcheck`, as containers and supervisors run it.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;

use crate::child;
use crate::world::World;

/// The exit status and all that was printed.
async fn check(folder: &Path, config: &str) -> (Option<i32>, String) {
    std::fs::write(folder.join("config.toml"), config).unwrap();
    let mut command = tokio::process::Command::from(child::bridge());
    let output = command.arg("healthcheck").current_dir(folder).output().await.unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(printed).unwrap())
}

fn with_listener(address: &str) -> String {
    format!("[server]\nops_listen = \"{address}\"\n")
}

#[tokio::test]
async fn a_server_that_is_ready_is_healthy_even_if_its_file_has_got_a_fault() {
    let world = World::start().await;
    let (folder, ops) = (world.folder.path(), world.ops().replace("http://", ""));
    let config =
        world.config_toml().replacen("ops_listen = \"127.0.0.1:0\"", &format!("ops_listen = \"{ops}\""), 1);
    for config in [config, with_listener(&ops), format!("{}[im]\nagents = 5\n", with_listener(&ops))] {
        let (status, printed) = check(folder, &config).await;
        assert_eq!(
            (status, printed),
            (Some(0), format!("ready: http://{ops}/readyz answers 200\n")),
            "{config}"
        );
    }
    world.finish().await;
}

#[tokio::test]
async fn a_server_that_is_not_ready_or_not_there_is_not_healthy() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let answering = std::thread::spawn(move || {
        for answer in ["HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", "SSH-2.0\r\n"] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let read = stream.read(&mut request).unwrap();
            assert!(request[..read].starts_with(b"GET /readyz HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    for part in ["/readyz answers 503", "its answer is not HTTP"] {
        let (status, printed) = check(folder.path(), &with_listener(&address)).await;
        assert!(status == Some(1) && printed.contains(part) && printed.contains("hint: "), "{printed}");
    }
    answering.join().unwrap();
    let (status, printed) = check(folder.path(), &with_listener(&address)).await;
    assert!(status == Some(1) && printed.contains("no server answers"), "{printed}");
    let (status, printed) = check(folder.path(), &with_listener("")).await;
    assert!(status == Some(1) && printed.starts_with("error: server.ops_listen"), "{printed}");
}
