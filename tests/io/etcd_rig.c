#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "tests/io/etcd_rig.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

/* Different ones, since all are held until the last is there. */
static void rig_free_ports(uint16_t *ports, int n)
{
	int sockets[2 * ETCD_RIG_MEMBERS_MAX];

	for (int i = 0; i < n; i++) {
		struct sockaddr_in at = {.sin_family = AF_INET,
					 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		socklen_t at_n = sizeof(at);

		sockets[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(bind(sockets[i], (struct sockaddr *)&at, sizeof(at)), 0);
		assert_int_equal(getsockname(sockets[i], (struct sockaddr *)&at, &at_n), 0);
		ports[i] = ntohs(at.sin_port);
	}
	for (int i = 0; i < n; i++)
		close(sockets[i]);
}

static void rig_exec(const struct etcd_rig *rig, int member)
{
	char name[8], data[96], client[64], peer[64], cluster[256] = "", log[96];
	const char *args[32];
	int n = 0, fd;

	snprintf(name, sizeof(name), "m%d", member);
	snprintf(data, sizeof(data), "%s/m%d", rig->dir, member);
	snprintf(log, sizeof(log), "%s/m%d.log", rig->dir, member);
	snprintf(client, sizeof(client), "%s://127.0.0.1:%d", rig->scheme,
		 rig->client_port[member]);
	snprintf(peer, sizeof(peer), "http://127.0.0.1:%d", rig->peer_port[member]);
	for (int i = 0; i < rig->members_n; i++) {
		size_t used = strlen(cluster);

		snprintf(cluster + used, sizeof(cluster) - used, "%sm%d=http://127.0.0.1:%d",
			 used ? "," : "", i, rig->peer_port[i]);
	}
	const char *const fixed[] = {
		"etcd",
		"--name",
		name,
		"--data-dir",
		data,
		"--listen-client-urls",
		client,
		"--advertise-client-urls",
		client,
		"--listen-peer-urls",
		peer,
		"--initial-advertise-peer-urls",
		peer,
		"--initial-cluster",
		cluster,
		/* Elections of its own within the patience of a test. */
		"--heartbeat-interval",
		"50",
		"--election-timeout",
		"500",
	};
	for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
		args[n++] = fixed[i];
	for (int i = 0; i < ETCD_RIG_EXTRA_MAX && rig->extra[i]; i++)
		args[n++] = rig->extra[i];
	args[n] = NULL;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	dup2(fd, 1);
	dup2(fd, 2);
	execvp("etcd", (char **)(uintptr_t)args);
	_exit(127);
}

static void rig_spawn(struct etcd_rig *rig, int member)
{
	assert_int_equal(rig->pid[member], 0);
	rig->pid[member] = fork();
	assert_true(rig->pid[member] >= 0);
	if (rig->pid[member] == 0)
		rig_exec(rig, member);
}

static size_t rig_no_body(char *bytes, size_t one, size_t n, void *user)
{
	(void)bytes;
	(void)user;
	return one * n;
}

/* A read by the majority is answered: this member is of use. */
static bool rig_answers(struct etcd_rig *rig, int member)
{
	char url[96], ca[96];
	CURL *curl = curl_easy_init();
	long status = 0;

	snprintf(url, sizeof(url), "%s://127.0.0.1:%d/v3/kv/range", rig->scheme,
		 rig->client_port[member]);
	snprintf(ca, sizeof(ca), "%s/tls.crt", rig->dir);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "{\"key\":\"YQ==\"}");
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, 1000L);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_CAINFO, ca);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, rig_no_body);
	if (curl_easy_perform(curl) == CURLE_OK)
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_cleanup(curl);
	return status == 200;
}

/* False: it ended, since another program took its port. */
static bool rig_await(struct etcd_rig *rig, int member)
{
	while (!rig_answers(rig, member)) {
		int status;

		if (waitpid(rig->pid[member], &status, WNOHANG) == rig->pid[member]) {
			rig->pid[member] = 0;
			return false;
		}
		poll(NULL, 0, 20); /* between two questions, not instead of one */
	}
	return true;
}

static bool rig_try(struct etcd_rig *rig)
{
	uint16_t ports[2 * ETCD_RIG_MEMBERS_MAX];

	rig_free_ports(ports, 2 * rig->members_n);
	rig->endpoints[0] = 0;
	for (int i = 0; i < rig->members_n; i++) {
		size_t used = strlen(rig->endpoints);

		rig->client_port[i] = ports[2 * i];
		rig->peer_port[i] = ports[2 * i + 1];
		snprintf(rig->endpoints + used, sizeof(rig->endpoints) - used,
			 "%s%s://127.0.0.1:%d", used ? "," : "", rig->scheme, rig->client_port[i]);
	}
	for (int i = 0; i < rig->members_n; i++)
		rig_spawn(rig, i);
	for (int i = 0; i < rig->members_n; i++)
		if (!rig_await(rig, i))
			return false;
	return true;
}

static void rig_open(struct etcd_rig *rig)
{
	for (int tries = 0; tries < 5; tries++) {
		if (rig_try(rig))
			return;
		for (int i = 0; i < rig->members_n; i++) {
			if (rig->pid[i])
				etcd_rig_kill(rig, i);
			etcd_rig_wipe(rig, i);
		}
	}
	fail_msg("etcd does not start: is the package etcd-server installed?");
}

/* In memory where there is room: a disk that others keep busy lets etcd's fsync wait for seconds.
 */
static const char *rig_parent(void)
{
	struct statvfs about;

	if (statvfs("/dev/shm", &about) || access("/dev/shm", W_OK) ||
	    (uint64_t)about.f_bavail * about.f_frsize < UINT64_C(2) << 30)
		return "/tmp";
	return "/dev/shm";
}

static void rig_make(struct etcd_rig *rig, int members_n)
{
	*rig = (struct etcd_rig){.members_n = members_n, .scheme = "http"};
	snprintf(rig->dir, sizeof(rig->dir), "%s/flotilla-etcd-XXXXXX", rig_parent());
	assert_non_null(mkdtemp(rig->dir));
}

void etcd_rig_open(struct etcd_rig *rig, int members_n, const char *const *extra)
{
	rig_make(rig, members_n);
	for (int i = 0; extra && extra[i]; i++) {
		assert_true(i < ETCD_RIG_EXTRA_MAX - 1);
		rig->extra[i] = extra[i];
	}
	rig_open(rig);
}

void etcd_rig_open_tls(struct etcd_rig *rig)
{
	static char cert[96], key[96];
	char command[512];

	rig_make(rig, 1);
	snprintf(cert, sizeof(cert), "%s/tls.crt", rig->dir);
	snprintf(key, sizeof(key), "%s/tls.key", rig->dir);
	snprintf(command, sizeof(command),
		 "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "
		 "-subj /CN=etcd -addext subjectAltName=IP:127.0.0.1 -days 2 -keyout %s -out %s "
		 "2>/dev/null",
		 key, cert);
	assert_int_equal(system(command), 0);
	rig->scheme = "https";
	rig->extra[0] = "--cert-file";
	rig->extra[1] = cert;
	rig->extra[2] = "--key-file";
	rig->extra[3] = key;
	rig_open(rig);
}

void etcd_rig_signal(struct etcd_rig *rig, int member, int signal_number)
{
	assert_true(rig->pid[member] > 0);
	assert_int_equal(kill(rig->pid[member], signal_number), 0);
}

void etcd_rig_kill(struct etcd_rig *rig, int member)
{
	int status;

	etcd_rig_signal(rig, member, SIGKILL);
	assert_int_equal(waitpid(rig->pid[member], &status, 0), rig->pid[member]);
	rig->pid[member] = 0;
}

void etcd_rig_start(struct etcd_rig *rig, int member)
{
	rig_spawn(rig, member);
	assert_true(rig_await(rig, member));
}

static int rig_remove(const char *path, const struct stat *about, int kind, struct FTW *where)
{
	(void)about;
	(void)kind;
	(void)where;
	return remove(path);
}

void etcd_rig_wipe(struct etcd_rig *rig, int member)
{
	char data[96];

	assert_int_equal(rig->pid[member], 0);
	snprintf(data, sizeof(data), "%s/m%d", rig->dir, member);
	nftw(data, rig_remove, 16, FTW_DEPTH | FTW_PHYS);
}

void etcd_rig_close(struct etcd_rig *rig)
{
	for (int i = 0; i < rig->members_n; i++)
		if (rig->pid[i])
			etcd_rig_kill(rig, i);
	nftw(rig->dir, rig_remove, 16, FTW_DEPTH | FTW_PHYS);
}
