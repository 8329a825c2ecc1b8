from .action_tube import ActionTubeDetector
from .domain_adaptive import DomainAdaptiveDetector
from .teacher_settings import TeacherSettings
from .teacher_student import TeacherStudentDetector

__all__ = [
    'ActionTubeDetector',
    'DomainAdaptiveDetector',
    'TeacherSettings',
    'TeacherStudentDetector',
]
