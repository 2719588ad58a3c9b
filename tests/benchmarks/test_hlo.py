"""What is counted in a compiled program's text, by a text made by hand."""

from benchmarks.hlo import count_launches, read_computations

# A program that copies its data set once, and loops over steps. A step is a fused sum, a transposed
# copy that is a fusion, one that is part of a fusion, a product by a library, a copy of a number, a
# sum over devices that is begun and awaited, and three rounds of an inner loop with one kernel and
# a condition of one.
PROGRAM = """\
HloModule jit_dispatch, is_scheduled=true, entry_computation_layout={(s32[], u8[10,4]{1,0})->f32[8]}

%sum (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %add = f32[] add(%x, %y)
}

%fused_reduce (p: f32[8,4]) -> f32[8] {
  %p = f32[8,4]{1,0} parameter(0)
  %zero = f32[] constant(0)
  ROOT %reduce = f32[8]{0} reduce(%p, %zero), dimensions={1}, to_apply=%sum
}

%fused_transpose (p: bf16[8,4]) -> bf16[4,8] {
  %p.1 = bf16[8,4]{1,0:T(8,128)} parameter(0)
  ROOT %transpose = bf16[4,8]{1,0:T(8,128)} transpose(%p.1), dimensions={1,0}
}

%fused_difference (p.3: bf16[8,4]) -> bf16[4,8] {
  %p.3 = bf16[8,4]{1,0} parameter(0)
  %transpose.1 = bf16[4,8]{1,0} transpose(%p.3), dimensions={1,0}
  ROOT %minus = bf16[4,8]{1,0} negate(%transpose.1)
}

%inner_body (i: (s32[], f32[8])) -> (s32[], f32[8]) {
  %i = (s32[], f32[8]{0}) parameter(0)
  %values = f32[8]{0} get-tuple-element(%i), index=1
  %fusion.3 = f32[8]{0} fusion(%values), kind=kLoop, calls=%fused_reduce
  ROOT %result = (s32[], f32[8]{0}) tuple(%number, %fusion.3)
}

%inner_condition (i.1: (s32[], f32[8])) -> pred[] {
  %i.1 = (s32[], f32[8]{0}) parameter(0)
  ROOT %fusion.4 = pred[] fusion(%i.1), kind=kLoop, calls=%fused_compare
}

%step (carry: (s32[], /*index=1*/f32[8])) -> (s32[], f32[8]) {
  %carry = (s32[]{:T(128)}, /*index=1*/f32[8]{0:T(128)}) parameter(0)
  %fusion.1 = f32[8]{0:T(128)S(1)} fusion(%carry), kind=kInput, calls=%fused_reduce
  %fusion.2 = bf16[4,8]{1,0} fusion(%carry), kind=kLoop, calls=%fused_transpose
  %fusion.5 = bf16[4,8]{1,0} fusion(%carry), kind=kLoop, calls=%fused_difference
  %product = f32[8]{0} custom-call(%fusion.1), custom_call_target="__cublas$gemm"
  %number = s32[] copy(%fusion.1)
  %round = s32[] add(%number, %number)
  %sum-start = f32[8]{0} all-reduce-start(%product), channel_id=1, to_apply=%sum
  %sum-done = f32[8]{0} all-reduce-done(%sum-start)
  %while.1 = (s32[], f32[8]{0}) while(%carry), condition=%inner_condition, body=%inner_body, \
backend_config={"known_trip_count":{"n":"3"}}
  ROOT %out = (s32[], f32[8]{0}) tuple(%number, %sum-done)
}

%more (carry.1: (s32[], f32[8])) -> pred[] {
  %carry.1 = (s32[], f32[8]{0}) parameter(0)
  ROOT %less = pred[] compare(%carry.1, %carry.1), direction=LT
}

%fused_compare (p.2: (s32[], f32[8])) -> pred[] {
  %p.2 = (s32[], f32[8]{0}) parameter(0)
  ROOT %less.1 = pred[] compare(%p.2, %p.2), direction=LT
}

ENTRY %main (steps: s32[], images: u8[10,4]) -> f32[8] {
  %steps = s32[] parameter(0)
  %images = u8[10,4]{1,0} parameter(1)
  %copy-start = (u8[10,4]{0,1}, u8[10,4]{1,0}, u32[]{:S(2)}) copy-start(%images)
  %copy-done = u8[10,4]{0,1} copy-done(%copy-start)
  %while.2 = (s32[], f32[8]{0}) while(%steps), condition=%more, body=%step
  ROOT %last = f32[8]{0} get-tuple-element(%while.2), index=1
}
"""


def test_every_computation_is_read():
    computations, entry = read_computations(PROGRAM)
    assert entry == "main"
    assert [one.opcode for one in computations["step"]] == [
        *("parameter", "fusion", "fusion", "fusion", "custom-call", "copy", "add"),
        *("all-reduce-start", "all-reduce-done", "while", "tuple"),
    ]
    assert computations["step"][1].result_bytes == 8 * 4
    assert computations["main"][2].result_bytes == 10 * 4  # to where it is copied


def test_what_is_launched_once():
    once, _ = count_launches(PROGRAM)
    assert once.kernels == {"copy": 1}
    assert (once.copies, once.copied_bytes, once.largest_copy) == (1, 40, 40)
    assert not once.collectives


def test_what_a_step_launches():
    _, step = count_launches(PROGRAM)
    # Of the inner loop's three rounds each has a fusion, and a fusion in its condition.
    assert step.kernels == {"fusion": 3 + 3 * 2, "custom-call": 1, "all-reduce": 1}
    assert step.total == 11
    assert step.reductions == 1 + 3
    assert step.scalars == 3  # the copy of a number, the sum, the comparison of the outer loop
    assert (step.copies, step.copied_bytes, step.largest_copy) == (1, 64, 64)
    assert step.collectives == {"all-reduce": 1}
    assert step.collective_bytes == 8 * 4
