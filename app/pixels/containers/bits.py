"""Numbers that do not begin at whole bytes, in the headers of video codecs."""


class Bits:
    """Reads bits from the first and highest one on. Raises IndexError at the end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def read(self, count: int) -> int:
        """The next `count` bits as a number."""
        number = 0
        for at in range(self._at, self._at + count):
            number = number << 1 | self._data[at >> 3] >> (7 - (at & 7)) & 1
        self._at += count
        return number

    def skip(self, count: int) -> None:
        """Pass over bits."""
        self._at += count

    def read_exponential(self) -> int:
        """An Exp-Golomb code: n zeros, a one, n bits. Raises IndexError if n exceeds 32."""
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 32:
                raise IndexError("the code is too long")
        return (1 << zeros) - 1 + self.read(zeros)
