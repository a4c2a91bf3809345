"""PHP as it is run in the field: a PHP-FPM of its own for a test, or php-cgi as a FastCGI server."""

from __future__ import annotations

import getpass
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.stage.programs import find
from tests.stage.waiting import wait_until

CONFIG = """
[global]
error_log = {directory}/fpm.log
daemonize = no
[www]
user = {user}
listen = {directory}/php.sock
pm = static
ping.path = /ping
pm.max_children = {children}
php_admin_value[upload_max_filesize] = 100M
php_admin_value[post_max_size] = 100M
php_admin_value[session.save_path] = {directory}
php_admin_value[upload_tmp_dir] = {directory}
php_admin_flag[log_errors] = on
php_admin_value[error_log] =
"""

#: A front controller: what it answers depends on the path.
INDEX = r"""<?php
header('Content-Type: application/json');
switch (strtok($_SERVER['REQUEST_URI'], '?')) {
case '/upload':
    $found = [];
    foreach ($_FILES as $name => $file)
        $found[$name] = [$file['name'], $file['size'], $file['error'], md5_file($file['tmp_name'])];
    echo json_encode([$found, $_POST]);
    break;
case '/body':
    echo json_encode([md5(file_get_contents('php://input')), $_SERVER['CONTENT_LENGTH'] ?? null]);
    break;
case '/session':
    session_start();
    echo json_encode($_SESSION['count'] = ($_SESSION['count'] ?? 0) + 1);
    break;
case '/wait':
    touch($_GET['begun']);
    while (!file_exists($_GET['until'])) { usleep(1000); clearstatcache(); }
    echo json_encode('waited');
    break;
case '/moved':
    header('Location: /elsewhere');
    break;
case '/teapot':
    http_response_code(418);
    break;
case '/nothing':
    http_response_code(204);
    break;
case '/large':
    for ($i = 0; $i < 2000; $i++) echo str_repeat(chr(65 + $i % 26), 10000);
    break;
case '/warned':
    error_log("a warning\nof two lines");
    echo json_encode('warned');
    break;
case '/pid':
    echo json_encode(getmypid());
    break;
case '/crash':
    posix_kill(getmypid(), 9);
default:
    echo json_encode($_SERVER);
}
"""


class Fpm:
    """One PHP-FPM, and a directory with `index.php` that it runs.

    `site`: the directory. `uri`: its socket.
    """

    def __init__(self, directory: Path, children: int) -> None:
        self.directory = directory
        self.site = directory / "site"
        self.site.mkdir()
        (self.site / "index.php").write_text(INDEX)
        self.socket = directory / "php.sock"
        self.uri = f"unix://{self.socket}"
        self._config = directory / "fpm.conf"
        self._config.write_text(CONFIG.format(directory=directory, user=getpass.getuser(), children=children))
        self.start()

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        program = find("php-fpm")
        assert program is not None
        command = [program, "--nodaemonize", "--fpm-config", str(self._config), *(["-R"] if os.geteuid() == 0 else [])]
        with (self.directory / "fpm.out").open("ab") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        wait_until(self.socket.is_socket, "socket of PHP-FPM", directory=self.directory, story=self._story)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it: at once by SIGTERM, after its requests by SIGQUIT."""
        self.process.send_signal(number)
        self.process.wait(30)

    def _story(self) -> str:
        return (self.directory / "fpm.out").read_text()


@contextmanager
def running_fpm(directory: Path, children: int = 4) -> Iterator[Fpm]:
    """Run PHP-FPM with its files in `directory`, whose path must be short for a socket."""
    fpm = Fpm(directory, children)
    try:
        yield fpm
    finally:
        if fpm.process.poll() is None:
            fpm.stop()


@contextmanager
def running_php_cgi(directory: Path, max_requests: int) -> Iterator[str]:
    """Run php-cgi as a FastCGI server whose processes end after some requests; yield the URI of its socket."""
    path = directory / "cgi.sock"
    environment = {**os.environ, "PHP_FCGI_CHILDREN": "2", "PHP_FCGI_MAX_REQUESTS": str(max_requests)}
    process = subprocess.Popen(["php-cgi", "-b", str(path)], env=environment, start_new_session=True)
    try:
        wait_until(path.is_socket, "socket of php-cgi", directory=directory)
        yield f"unix://{path}"
    finally:
        process.terminate()
        process.wait(30)
