"""Template web, used by its user over ssh: PHP with its extensions, Composer, Node and npm, all without a network.

What breaks most often in other jails (hestiacp#4052, #5150, #5434; virtualmin-gpl#570): extensions that find their
libraries but not their settings, time zones, certificates, Composer's and npm's scratch directories."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.host import Host

pytestmark = pytest.mark.host


@pytest.fixture(scope="module")
def web(host: Host) -> Iterator[Host]:
    host.jailctl("update", "web", timeout=120)  # with its smoke tests
    host.jailctl("add-user", "wanda", "--template", "web", "--key", host.key("wanda") + ".pub")
    yield host
    host.jailctl("remove-user", "wanda")


def succeeds(host: Host, command: str, output: str, *, input: str = "", timeout: float = 60) -> None:
    done = host.ssh("wanda", command, input=input, timeout=timeout)
    assert (done.stdout, done.returncode) == (output, 0), done.stderr


PHP = {
    "json": ("echo json_encode(['a' => 1]);", '{"a":1}'),
    "curl": ("$c = curl_init('file:///etc/hostname'); curl_setopt($c, CURLOPT_RETURNTRANSFER, 1);"
             "echo trim(curl_exec($c));", "wanda"),
    "curl-ssl": ("echo curl_version()['features'] & CURL_VERSION_SSL ? 'ssl' : 'none';", "ssl"),
    "gd": ("$i = imagecreatetruecolor(2, 2); imagepng($i, 'x.png'); echo getimagesize('x.png')['mime'];", "image/png"),
    "intl": ("echo (new NumberFormatter('de_DE', NumberFormatter::DECIMAL))->format(1234.5);", "1.234,5"),
    "mbstring": ("echo mb_strtoupper('straße ü');", "STRASSE Ü"),
    "mysql": ("echo class_exists('mysqli') && in_array('mysql', PDO::getAvailableDrivers()) ? 'both' : '';", "both"),
    "sqlite3": ("$d = new PDO('sqlite:x.db'); $d->exec('create table if not exists t(a)');"
                "$d->exec('insert into t values (7)'); echo $d->query('select a from t')->fetchColumn();", "7"),
    "xml": ("$d = new DOMDocument; $d->loadXML('<a><b>x</b></a>');"
            "echo (new DOMXPath($d))->evaluate('string(//b)');", "x"),
    "zip": ("$z = new ZipArchive; $z->open('x.zip', ZipArchive::CREATE); $z->addFromString('a', 'b'); $z->close();"
            "$z->open('x.zip'); echo $z->getFromName('a');", "b"),
    "openssl": ("echo is_readable(openssl_get_cert_locations()['default_cert_file']) || "
                "count(glob(openssl_get_cert_locations()['default_cert_dir'].'/*')) > 50 ? 'certs' : 'none';", "certs"),
    "timezone": ("echo (new DateTime('2026-07-01 12:00', new DateTimeZone('Europe/Berlin')))->format('T P');",
                 "CEST +02:00"),
    "session": ("session_start(); $_SESSION['a'] = 5; session_write_close(); session_start();"
                "echo $_SESSION['a'];", "5"),
    "temporary": ("$f = tempnam(sys_get_temp_dir(), 'x'); echo dirname($f);", "/tmp"),
    "mail-off": ("echo @mail('a@b', 's', 't') ? 'sent' : 'refused';", "refused"),
    "ini": ("echo basename(php_ini_loaded_file());", "php.ini"),
    "process": ("echo trim(shell_exec('id -un'));", "wanda"),
}  # fmt: skip


@pytest.mark.parametrize("what", PHP)
def test_php(web: Host, what: str) -> None:
    code, expected = PHP[what]
    succeeds(web, "php", expected, input=f"<?php {code}")


def test_php_has_the_extensions_that_it_has_outside(web: Host) -> None:
    outside = web.run(["/usr/bin/php", "-m"]).stdout
    assert len(outside.split()) > 30
    succeeds(web, "php -m", outside)


SERVE = """
set -e
mkdir -p site && cd site && echo '<?php echo "hello ", $_GET["q"];' > index.php
php -S 127.0.0.1:8080 >log 2>&1 &
for i in $(seq 50); do
    php -r '$c = curl_init("http://127.0.0.1:8080/?q=me"); curl_setopt($c, CURLOPT_RETURNTRANSFER, 1);
        $t = curl_exec($c); if ($t === false) exit(1); echo $t;' && exit 0
    sleep 0.1
done
cat log >&2
exit 1
"""


def test_phps_own_server_answers_its_curl(web: Host) -> None:
    succeeds(web, "bash -s", "hello me", input=SERVE)


COMPOSER = """
set -e
mkdir -p lib/src app && cd lib
cat > composer.json <<'END'
{"name": "test/lib", "version": "1.0.0", "autoload": {"psr-4": {"Test\\\\": "src/"}}}
END
echo '<?php namespace Test; class Greet { static function hi() { return "from the library"; } }' > src/Greet.php
cd ../app
cat > composer.json <<'END'
{"name": "test/app", "repositories": [{"type": "path", "url": "../lib"}, {"packagist.org": false}],
 "require": {"test/lib": "1.0.0"}, "scripts": {"post-autoload-dump": "echo script ran"}}
END
export COMPOSER_DISABLE_NETWORK=1
composer install --no-interaction --no-progress 2>composer.log || { cat composer.log >&2; exit 1; }
php -r 'require "vendor/autoload.php"; echo Test\\Greet::hi(), "\\n";'
composer show --no-interaction 2>/dev/null | tr -s ' ' | cut -d' ' -f1,2
composer validate --no-interaction --no-check-all --no-check-publish 2>&1 | grep -c 'is valid'
"""


def test_composer_installs_from_a_folder(web: Host) -> None:
    succeeds(web, "bash -s", "script ran\nfrom the library\ntest/lib 1.0.0\n1\n", input=COMPOSER)


NPM = """
set -e
mkdir -p greet napp
cat > greet/package.json <<'END'
{"name": "greet", "version": "1.2.3", "main": "index.js", "bin": {"greet": "cli.js"},
 "scripts": {"postinstall": "node -e 'require(\\"fs\\").writeFileSync(\\"ran\\", \\"yes\\")'"}}
END
echo 'module.exports = () => "from a package"' > greet/index.js
printf '#!/usr/bin/env node\\nconsole.log(require("./index.js")())\\n' > greet/cli.js
npm pack ./greet --silent
cd napp
echo '{"name": "napp", "version": "1.0.0", "private": true, "scripts": {"start": "greet"}}' > package.json
npm install --offline --no-audit --no-fund --silent ../greet-1.2.3.tgz
node -e 'console.log(require("greet")())'
npm run --silent start
npm ls --depth=0 | grep -o 'greet@[0-9.]*'
rm -rf node_modules && npm ci --offline --no-audit --no-fund --silent && node -p 'require("greet")()'
"""


def test_npm_installs_a_package_from_a_file(web: Host) -> None:
    said = "greet-1.2.3.tgz\nfrom a package\nfrom a package\ngreet@1.2.3\nfrom a package\n"
    succeeds(web, "bash -s", said, input=NPM, timeout=110)


NODE = """
const { Worker, isMainThread } = require('worker_threads');
const http = require('http'), crypto = require('crypto'), fs = require('fs'), os = require('os');
const server = http.createServer((_, reply) => reply.end('served')).listen(0, '127.0.0.1', () => {
  http.get({ host: '127.0.0.1', port: server.address().port }, reply => {
    reply.on('data', data => {
      const worker = new Worker('require("worker_threads").parentPort.postMessage(6 * 7)', { eval: true });
      worker.on('message', number => {
        console.log(String(data), number, crypto.createHash('sha256').update('x').digest('hex').slice(0, 8),
          new Intl.DateTimeFormat('de', { timeZone: 'Europe/Berlin', month: 'long' }).format(new Date(0)),
          os.userInfo().username);
        server.close();
      });
    });
  });
});
"""


def test_node_serves_works_in_threads_and_knows_the_world(web: Host) -> None:
    succeeds(web, "node -", "served 42 2d711642 Januar wanda\n", input=NODE)


def test_versions_are_the_hosts(web: Host) -> None:
    for program in ("php", "node", "npm", "composer"):
        outside = web.run(["/usr/bin/env", program, "--version"], env={"PATH": "/usr/bin:/bin", "HOME": "/tmp"}).stdout
        number = re.search(r"\d+\.\d+\.\d+", outside)
        assert number, outside
        assert number[0] in web.ssh("wanda", f"{program} --version").stdout


def test_a197_no_pool_and_no_secret_of_php_is_inside(web: Host) -> None:
    (web.root / "etc/php").mkdir(exist_ok=True)
    done = web.ssh("wanda", "find /etc/php -name '*.conf'; ls /etc/php/*/")
    assert "cli" in done.stdout and "fpm" not in done.stdout and ".conf" not in done.stdout
