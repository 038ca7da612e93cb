/* A program of the common gateway interface: it answers with what it was told and what it was sent. */

#include <stdio.h>
#include <stdlib.h>

static const char *variable(const char *name) {
  const char *value = getenv(name);
  return value == NULL ? "" : value;
}

int main(int count, char **arguments) {
  printf("Content-Type: text/plain\n");
  printf("X-Language: c\n\n");
  printf("%s %s?%s\n", variable("REQUEST_METHOD"), variable("PATH_INFO"), variable("QUERY_STRING"));
  for (int i = 0; i < count; i++) printf("argument %d: %s\n", i, arguments[i]);
  for (int c = getchar(); c != EOF; c = getchar()) putchar(c);
  return 0;
}
