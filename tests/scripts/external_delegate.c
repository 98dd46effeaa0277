/* A TensorFlow Lite delegate that takes the first NODES nodes of a network and answers nothing for them. Options: nodes=N.
 *
 * The packages bring no headers; these are the beginnings of the structures of TensorFlow Lite's C interface, as
 * tensorflow/lite/core/c/common.h has them. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct { int size; int data[]; } IntArray;
typedef struct Context Context;
typedef struct Delegate Delegate;

typedef struct {
  void *(*init)(Context *, const char *, size_t);
  void (*free)(Context *, void *);
  int (*prepare)(Context *, void *);
  int (*invoke)(Context *, void *);
  const char *(*profiling_string)(const Context *, const void *);
  int32_t builtin_code;
  const char *custom_name;
  int version;
  void *external, *async_kernel;
  uint64_t inplace_operator;
} Registration;

struct Context {
  size_t tensors_size;
  int (*get_execution_plan)(Context *, IntArray **);
  void *tensors, *impl, *resize_tensor, *report_error, *add_tensors, *get_node_and_registration;
  int (*replace_nodes)(Context *, Registration, const IntArray *, Delegate *);
};

struct Delegate {
  void *data;
  int (*prepare)(Context *, Delegate *);
  void *copy_from, *copy_to, *free_buffer;
  int64_t flags;
  void *opaque_builder;
};

static int succeed(Context *context, void *node) {
  (void)context, (void)node;
  return 0;
}

static int prepare(Context *context, Delegate *self) {
  const int wanted = (int)(intptr_t)self->data;
  IntArray *plan;
  if (wanted == 0) return 0;
  if (context->get_execution_plan(context, &plan)) return 1;
  IntArray *taken = malloc(sizeof(IntArray) + wanted * sizeof(int));
  taken->size = wanted;
  memcpy(taken->data, plan->data, wanted * sizeof(int));
  Registration kernel = {.prepare = succeed, .invoke = succeed, .custom_name = "TakesNodes", .version = 1};
  const int status = context->replace_nodes(context, kernel, taken, self);
  free(taken);
  return status;
}

Delegate *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
  (void)report;
  Delegate *self = calloc(1, sizeof(Delegate));
  self->prepare = prepare;
  for (size_t i = 0; i < count; i++)
    if (!strcmp(keys[i], "nodes")) self->data = (void *)(intptr_t)atoi(values[i]);
  return self;
}

void tflite_plugin_destroy_delegate(Delegate *self) { free(self); }
