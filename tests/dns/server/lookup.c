/* What programs do with names, through the C library that this was built with: glibc's or musl's.
 *
 *   lookup addresses NAME            getaddrinfo(): each address once, a line each
 *   lookup name ADDRESS              getnameinfo(): the name of an address
 *   lookup udp|tcp TYPE NAME SERVER  res_mkquery() and a socket of our own: the answer's records of that type (a number)
 *
 * Exit code 2: there is no such name (or no such record); 1: anything else went wrong.
 */
#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <nss.h>
#endif

static int failed(const char *what)
{
	fprintf(stderr, "%s\n", what);
	return 1;
}

static int no_such_name(int code)
{
	switch (code) {
	case EAI_NONAME:
#ifdef EAI_NODATA
	case EAI_NODATA:
#endif
		return 2;
	}
	return failed(gai_strerror(code));
}

static int addresses(const char *name)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
	int code = getaddrinfo(name, "5432", &hints, &found);
	if (code)
		return no_such_name(code);
	for (struct addrinfo *one = found; one; one = one->ai_next) {
		char text[NI_MAXHOST];
		getnameinfo(one->ai_addr, one->ai_addrlen, text, sizeof text, NULL, 0, NI_NUMERICHOST);
		puts(text);
	}
	return 0;
}

static int name(const char *address)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM}, *found;
	char text[NI_MAXHOST];
	int code = getaddrinfo(address, NULL, &hints, &found);
	if (!code)
		code = getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof text, NULL, 0, NI_NAMEREQD);
	if (code)
		return no_such_name(code);
	puts(text);
	return 0;
}

static int receive(int sock, unsigned char *into, int count)
{
	int got = 0, more;
	while (got < count && (more = recv(sock, into + got, count - got, 0)) > 0)
		got += more;
	return got;
}

static int ask(const char *server, int tcp, const unsigned char *query, int length, unsigned char *reply, int room)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53)};
	struct timeval patience = {.tv_sec = 20};
	unsigned char prefix[2] = {length >> 8, length & 255};
	int sock = socket(AF_INET, tcp ? SOCK_STREAM : SOCK_DGRAM, 0);
	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	if (inet_pton(AF_INET, server, &to.sin_addr) != 1 || connect(sock, (struct sockaddr *)&to, sizeof to))
		return -1;
	if (tcp && send(sock, prefix, 2, 0) != 2)
		return -1;
	if (send(sock, query, length, 0) != length)
		return -1;
	if (!tcp)
		return recv(sock, reply, room, 0);
	if (receive(sock, prefix, 2) != 2)
		return -1;
	length = prefix[0] << 8 | prefix[1];
	return receive(sock, reply, length) == length ? length : -1;
}

static void print(ns_msg message, ns_rr record)
{
	const unsigned char *data = ns_rr_rdata(record);
	char text[NS_MAXDNAME] = "";
	switch (ns_rr_type(record)) {
	case ns_t_a:
		puts(inet_ntop(AF_INET, data, text, sizeof text));
		break;
	case ns_t_aaaa:
		puts(inet_ntop(AF_INET6, data, text, sizeof text));
		break;
	case ns_t_txt:
		printf("%.*s\n", data[0], data + 1);
		break;
	case ns_t_srv:
		dn_expand(ns_msg_base(message), ns_msg_end(message), data + 6, text, sizeof text);
		printf("%u %s\n", data[4] << 8 | data[5], text);
		break;
	default: /* CNAME, PTR, NS */
		dn_expand(ns_msg_base(message), ns_msg_end(message), data, text, sizeof text);
		puts(text);
	}
}

static int records(int tcp, int type, const char *whole_name, const char *server)
{
	static unsigned char query[512], reply[65535];
	ns_msg message;
	ns_rr record;
	int found = 0;
	int length = res_mkquery(ns_o_query, whole_name, ns_c_in, type, NULL, 0, NULL, query, sizeof query);
	if (length < 0)
		return failed("the query can't be written");
	length = ask(server, tcp, query, length, reply, sizeof reply);
	if (length < 0 || ns_initparse(reply, length, &message) || memcmp(query, reply, 2))
		return failed("no answer, or none that can be read");
	for (int at = 0; at < ns_msg_count(message, ns_s_an); at++) {
		if (ns_parserr(&message, ns_s_an, at, &record))
			return failed("a record can't be read");
		if ((int)ns_rr_type(record) == type) {
			print(message, record);
			found++;
		}
	}
	return found ? 0 : 2;
}

int main(int argc, char **argv)
{
#ifdef __GLIBC__
	__nss_configure_lookup("hosts", "dns");
#endif
	if (argc == 3 && !strcmp(argv[1], "addresses"))
		return addresses(argv[2]);
	if (argc == 3 && !strcmp(argv[1], "name"))
		return name(argv[2]);
	if (argc == 5)
		return records(!strcmp(argv[1], "tcp"), atoi(argv[2]), argv[3], argv[4]);
	return failed("usage: see the first lines of this program");
}
